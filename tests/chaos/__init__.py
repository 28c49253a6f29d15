"""Real processes, killed at random: `python -m tests.chaos`, or `make chaos`.

A sender begins requests, requests that are passed on, contract nets, requests for contract nets and notes
with receivers, each in a process of its own. Receivers, the XMPP server and the store are killed with signal
9, connections are cut, messages are said twice and in another order. What then counts as lost, doubled and
hung says `verdict`.
"""

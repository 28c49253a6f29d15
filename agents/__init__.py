"""Who is there: one file for each kind of agent.

`agents` is also the import name of another public package (openai-agents); the two do not share an
environment.
"""

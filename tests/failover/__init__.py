"""How soon a group has a new leader: `python -m tests.failover`."""

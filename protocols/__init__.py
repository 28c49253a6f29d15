"""How conversations go: each FIPA interaction protocol as a table, and the one engine that runs them.

Pure code: no asyncio, no clock, no randomness, no log. Time is an argument, outcomes are values.
"""

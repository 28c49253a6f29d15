"""Surviving failure: policies as pure code, ports, and one file for each service that binds them."""

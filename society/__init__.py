"""Running a society: configuration, wiring, the embedded server, the command line."""

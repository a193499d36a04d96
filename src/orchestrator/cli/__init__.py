"""The command line, `orch`."""

"""Quality gates: pure functions over frozen facts. No clock, no I/O."""

"""Values that the whole service speaks in. Depends on nothing: no clock, no I/O, no framework."""

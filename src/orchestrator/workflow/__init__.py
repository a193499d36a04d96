"""The state machine: pure. `decide` is the only thing that moves a stage."""

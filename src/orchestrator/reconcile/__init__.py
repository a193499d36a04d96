"""The imperative shell: look, decide, apply. The same code runs after a webhook, a timer, a restart or a click."""

"""The HTTP API and /status, behind Access. Times are UTC, costs US dollars (notional for a subscription)."""

"""Measures the service against this machine's own limits: `python -m benchmarks`, or `make bench`."""

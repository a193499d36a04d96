"""Plane, Gitea, the Messages API and `claude` in small: they ship, and drive demo, tests and benchmarks."""

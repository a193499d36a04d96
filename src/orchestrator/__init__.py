"""Carries a work item from Plane through agents and quality gates to a pull request in Gitea or Forgejo."""

__version__ = "0.1.0"

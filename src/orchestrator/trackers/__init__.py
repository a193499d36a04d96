"""Adapters to where the team plans. They never touch our database."""

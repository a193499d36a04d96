"""Adapters to where the code lives. They never touch our database; none can merge or delete."""

"""Engines bring wakes and runs to where they are worked on. Correctness lives in our rows, not here."""

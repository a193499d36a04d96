"""Runs agents: workspace, launch, supervision, outcome. The only place (but `sim`) that starts processes."""

"""Imported by the process that forks services: with it, none of them compiles the pages' templates."""

from orchestrator.web.rendering import environment

for _name in environment("").list_templates():
    environment("").get_template(_name)

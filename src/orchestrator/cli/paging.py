"""Lists of the API: as many rows as were asked for, however short its pages are."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from orchestrator.cli.answers import Answers

MOST_PAGES = 20
"""A page looks at a bounded number of rows, and so may be empty and still have a next one."""


def rows(asked: Answers, path: str, wanted: Mapping[str, object], limit: int) -> dict[str, Any]:
    """`items`, and `next`, the cursor of what is older; as one page of the API."""
    found: list[Any] = []
    asks = {name: value for name, value in wanted.items() if value is not None}
    for _ in range(MOST_PAGES):
        page = asked.get(f"{path}?{urlencode({**asks, 'limit': limit - len(found)})}")
        found += page["items"]
        asks["cursor"] = page["next"]
        if page["next"] is None or len(found) >= limit:
            break
    return {"items": found, "next": asks["cursor"]}


def older(body: Mapping[str, Any]) -> str:
    """How to see what is older; empty when nothing is."""
    return f"There are older ones: --cursor {body['next']}" if body["next"] else ""

import re
from pathlib import Path

import pytest

from orchestrator.webhooks import gitea, plane

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "events.md"
ROW = re.compile(r"^\| `([^`]+)` \| `(\w+)` \|", re.MULTILINE)
CODE = {
    "## Plane": {name: route.becomes.__name__ for name, route in plane.SUPPORTED.items()},
    "## Gitea and Forgejo": {name: route.becomes.__name__ for name, route in gitea.SUPPORTED.items()},
}


@pytest.mark.parametrize("heading", CODE)
def test_the_page_and_the_code_name_the_same_events(heading: str) -> None:
    section = PAGE.read_text(encoding="utf-8").split(heading + "\n")[1].split("\n## ")[0]
    rows = ROW.findall(section)
    assert len(rows) == len(dict(rows))
    assert dict(rows) == CODE[heading]

"""For every story, also one without `at_work`: when it was told, all its decisions are made once more."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stories.team import decided_again


@pytest.fixture(autouse=True)
def _decided_again(tmp_path: Path) -> Iterator[None]:
    """After all else has ended; a service of a story keeps its database in the world's folder."""
    yield
    for file in tmp_path.glob("world/data/orchestrator.db"):
        decided_again(file)

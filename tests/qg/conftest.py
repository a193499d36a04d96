import pytest

from orchestrator.qg import documents, globs


@pytest.fixture(autouse=True)
def _nothing_remembered() -> None:
    """What an earlier test asked must not hide a fault from a later one."""
    for remembering in (globs.context_glob, globs.path_globs, documents._row):
        remembering.cache_clear()

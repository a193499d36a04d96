import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.roles import Role
from orchestrator.workflow.names import branch_name, is_key, posted_branch_name, slug

REF = re.compile(r"feature/ENDURO-1(-[a-z0-9]+)*")


@pytest.mark.parametrize(
    ("title", "branch"),
    [
        ("Маршрут: импорт GPX", "feature/ENDURO-1-marshrut-import-gpx"),
        ("🚵 🚵", "feature/ENDURO-1"),
        ("", "feature/ENDURO-1"),
        ("../../etc/passwd", "feature/ENDURO-1-etc-passwd"),
        ("--upload-pack=x; $(touch y)", "feature/ENDURO-1-upload-pack-x-touch-y"),
        ("word " * 40, "feature/ENDURO-1-" + "-".join(["word"] * 9)),
        (" " * 500 + "never read", "feature/ENDURO-1"),
        ("a" * 300, "feature/ENDURO-1-" + "a" * 48),
    ],
)
def test_a_branch_is_named_after_key_and_readable_title(title: str, branch: str) -> None:
    assert branch_name("ENDURO-1", title) == branch


def test_nothing_readable_is_an_empty_slug() -> None:
    assert slug("🚵") == ""


@given(st.text())
def test_any_title_gives_a_safe_ref_that_fits(title: str) -> None:
    name = branch_name("ENDURO-1", title)
    assert REF.fullmatch(name)
    assert len(name) <= 100


@pytest.mark.parametrize("key", ["ENDURO-1", "A_B-12", "a1-999999"])
def test_a_plain_key_may_name_a_path(key: str) -> None:
    assert is_key(key)


@pytest.mark.parametrize("key", ["../x-1", "-1", "ENDURO-1/x", "ENDURO-1\n", "Ж-1", "", "ENDURO", "A-" + "1" * 13])
def test_an_odd_key_may_not(key: str) -> None:
    assert not is_key(key)


def test_a_posted_tasks_branch_is_named_after_its_role() -> None:
    assert posted_branch_name("TASK-1", Role.TESTER) == "feature/TASK-1-tester"

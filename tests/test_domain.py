"""Values: what they refuse, and that what is queued comes back whole."""

from dataclasses import fields
from typing import get_args

import pytest

from orchestrator.domain.effect import (
    EFFECTS,
    Effect,
    GateStatus,
    ItemState,
    OpenPull,
    PullLink,
    PullNote,
    PullReview,
    TrackerNote,
)
from orchestrator.domain.errors import OrchestratorError, Permanent, Rejected, Transient
from orchestrator.domain.forge import CheckState, ReviewState
from orchestrator.domain.model import RepoName, Sha, parse_sha
from orchestrator.store import canonical

REPO, HEAD = RepoName("acme", "shop"), Sha("a" * 40)
QUEUED: tuple[Effect, ...] = (
    TrackerNote("A-1:standing", "<p>ё</p>"),
    ItemState("In Progress"),
    PullLink("https://git.example/pulls/7", "Pull request 7"),
    OpenPull(REPO, "feature/A-1", "main", "A-1: title", "body"),
    PullNote(REPO, 7, "orchestrator:A-1:standing", "text"),
    PullReview(REPO, 7, HEAD, ReviewState.APPROVED, "text"),
    GateStatus(REPO, HEAD, CheckState.PENDING, "waits", "https://here.example"),
)


@pytest.mark.parametrize("text", ["a/b", "Acme.Inc/x_y-z", "a/.github"])
def test_a_repository_is_owner_and_name(text: str) -> None:
    assert str(RepoName.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", "a", "a/", "/a", "a/b/c", "../b", "a/..", "a/.", "a b/c", "a/b?c", "a/%2e", "a/b\n", "а/б"]
)
def test_nothing_that_could_leave_its_folder_is_a_repository(text: str) -> None:
    with pytest.raises(ValueError, match="repository"):
        RepoName.parse(text)


@pytest.mark.parametrize("text", ["", "main", "a" * 39, "A" * 40, "a" * 41, "--all", "a" * 40 + "\n"])
def test_only_full_names_are_commits(text: str) -> None:
    with pytest.raises(ValueError, match="commit"):
        parse_sha(text)


def test_what_is_refused_is_shown_but_never_all_of_it() -> None:
    for parse in (RepoName.parse, parse_sha):
        with pytest.raises(ValueError, match=r": '" + "!" * 80 + "'$"):
            parse("!" * 500)


def test_owner_and_name_are_told_apart() -> None:
    assert RepoName.parse("acme/trails") == RepoName("acme", "trails")
    assert RepoName.parse("X/X") == RepoName("X", "X")
    assert RepoName.parse(".x./.X") == RepoName(".x.", ".X")


def test_every_kind_of_error_has_a_code_a_message_and_a_hint() -> None:
    errors = (
        OrchestratorError("code", "It broke.", hint="Mend it."),
        Rejected("code", "It broke.", status=409, hint="Mend it."),
        Transient("code", "It broke.", retry_after_s=3.0, hint="Mend it."),
        Permanent("code", "It broke.", hint="Mend it."),
    )
    for error in errors:
        assert (error.code, error.message, error.hint, str(error)) == (
            "code",
            "It broke.",
            "Mend it.",
            "It broke.",
        )
    assert [error.status for error in errors if isinstance(error, Rejected)] == [409]
    assert [error.retry_after_s for error in errors if isinstance(error, Transient)] == [3.0]


def test_what_is_not_told_of_an_error_has_an_honest_default() -> None:
    assert (Rejected("c", "m").status, Rejected("c", "m").hint) == (400, "")
    assert (Transient("c", "m").retry_after_s, Transient("c", "m").hint) == (None, "")
    assert OrchestratorError("c", "m").hint == ""


@pytest.mark.parametrize("text", ["a" * 40, "0" * 64])
def test_both_hash_lengths_are_commits(text: str) -> None:
    assert parse_sha(text) == text


def test_the_case_of_a_repositorys_name_does_not_matter_and_all_else_does() -> None:
    assert REPO.is_same(RepoName("Acme", "SHOP"))
    assert not REPO.is_same(RepoName("acme", "shop2"))
    assert not REPO.is_same(RepoName("acm", "eshop"))


@pytest.mark.parametrize("effect", QUEUED, ids=lambda effect: type(effect).__name__)
def test_an_effect_comes_back_from_the_outbox_as_it_was_queued(effect: Effect) -> None:
    restored = canonical.decode(canonical.encode(effect), (*EFFECTS, RepoName))
    assert restored == effect
    assert [type(getattr(restored, one.name)) for one in fields(effect)] == [
        type(getattr(effect, one.name)) for one in fields(effect)
    ]


def test_every_effect_can_be_brought_back() -> None:
    assert {type(one) for one in QUEUED} == set(EFFECTS) == set(get_args(Effect))

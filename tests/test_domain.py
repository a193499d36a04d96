import pytest

from orchestrator.domain.errors import OrchestratorError, Permanent, Rejected, Transient
from orchestrator.domain.model import RepoName, parse_sha


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

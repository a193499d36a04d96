import pytest

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


@pytest.mark.parametrize("text", ["a" * 40, "0" * 64])
def test_both_hash_lengths_are_commits(text: str) -> None:
    assert parse_sha(text) == text

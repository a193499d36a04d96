"""What the adapter writes: once, under our own name, and harmless whatever is in it."""

from typing import Any

import pytest

from orchestrator.config import Settings
from orchestrator.configfile import Directory
from orchestrator.domain.errors import Permanent, Transient
from orchestrator.domain.forge import CheckState, ReviewPublished, ReviewState
from orchestrator.domain.model import Person, RepoName, UserId
from orchestrator.forges.gitea import Gitea
from orchestrator.main import build
from orchestrator.sim.server import LoopbackServer

REPO = RepoName("acme", "enduro-trails")
MARK = "<!-- orch:review:7 -->"


def pull_of(forge: Any, number: int = 1) -> Any:
    return forge.sim.repos[str(REPO)].pulls[number]


def statuses(forge: Any) -> list[dict[str, Any]]:
    return [entry["row"] for entry in forge.sim.repos[str(REPO)].statuses]


# -- pull requests


async def test_a_pull_request_is_opened_once(forge: Any) -> None:
    forge.commit({"a.txt": "a\n"})
    opened = [
        await forge.orchestrator.open_pull_request(
            REPO, "main", "feature/x", "E-1: Add\n#12 @dev", "@dev\ncloses #3"
        )
        for _ in range(2)
    ]
    assert opened[0] == opened[1]
    assert len(forge.sim.repos[str(REPO)].pulls) == 1
    assert pull_of(forge).title == "E-1: Add #\u200b12 @\u200bdev"
    assert pull_of(forge).body == "@\u200bdev\ncloses #\u200b3"


async def test_a_pull_request_of_a_branch_that_is_not_there_says_what_to_check(forge: Any) -> None:
    with pytest.raises(Permanent, match="no repository"):
        await forge.orchestrator.open_pull_request(REPO, "main", "feature/none", "t", "b")
    with pytest.raises(Permanent):
        await forge.orchestrator.open_pull_request(REPO, "main", "main", "t", "b")


# -- reviews


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        (ReviewState.APPROVED, "APPROVED"),
        (ReviewState.CHANGES_REQUESTED, "REQUEST_CHANGES"),
        (ReviewState.COMMENTED, "COMMENT"),
    ],
)
async def test_a_review_is_published_once_on_its_commit_as_this_user(
    forge: Any, verdict: ReviewState, said: str
) -> None:
    number, at = await forge.pull(), forge.head()
    for text in (f"{MARK}\nGood, @dev", f"{MARK}\nput in other words"):
        published = await forge.reviewer.review(REPO, number, at, verdict, text)
        assert published is ReviewPublished.PUBLISHED
    (row,) = pull_of(forge).reviews
    assert (row["state"], row["commit_id"], row["user"]["login"]) == (said, at, "reviewer")
    assert row["body"] == f"{MARK}\nGood, @\u200bdev"
    (seen,) = await forge.orchestrator.reviews(REPO, number)
    assert (seen.author, seen.state, seen.commit) == ("reviewer", verdict, at)


async def test_another_commit_verdict_or_marker_is_another_review(forge: Any) -> None:
    number, at = await forge.pull(), forge.head()
    publish = forge.reviewer.review
    await publish(REPO, number, at, ReviewState.CHANGES_REQUESTED, f"{MARK}\nno")
    await publish(REPO, number, at, ReviewState.APPROVED, f"{MARK}\nyes")
    await publish(REPO, number, at, ReviewState.APPROVED, "<!-- orch:review:8 -->\nyes")
    new = forge.commit({"more.txt": "m\n"})
    await publish(REPO, number, new, ReviewState.APPROVED, f"{MARK}\nyes")
    assert [row["commit_id"] for row in pull_of(forge).reviews] == [at, at, at, new]


async def test_somebody_elses_review_under_our_marker_is_not_ours(forge: Any) -> None:
    number, at = await forge.pull(), forge.head()
    await forge.guest.review(REPO, number, at, ReviewState.APPROVED, f"{MARK}\nforged")
    await forge.reviewer.review(REPO, number, at, ReviewState.APPROVED, f"{MARK}\nreal")
    assert [row["user"]["login"] for row in pull_of(forge).reviews] == ["guest", "reviewer"]


@pytest.mark.parametrize("verdict", [ReviewState.APPROVED, ReviewState.CHANGES_REQUESTED])
async def test_nobody_judges_the_pull_request_that_they_opened(forge: Any, verdict: ReviewState) -> None:
    number, at = await forge.pull(), forge.head()
    published = await forge.orchestrator.review(REPO, number, at, verdict, f"{MARK}\nmine")
    assert published is ReviewPublished.OWN_PULL_REQUEST
    posts = [call for call in list(forge.sim.calls) if call.method == "POST" and call.path.endswith("/reviews")]
    assert len(posts) <= 1
    assert pull_of(forge).reviews == []
    said = await forge.orchestrator.review(REPO, number, at, ReviewState.COMMENTED, f"{MARK}\nmine")
    assert said is ReviewPublished.PUBLISHED


@pytest.mark.parametrize("end", ["close", "merge"])
async def test_a_review_of_a_pull_request_that_has_ended_is_refused_until_it_is_opened_again(
    forge: Any, end: str
) -> None:
    number, at = await forge.pull(), forge.head()
    getattr(forge.people, end)(str(REPO), number, "boss")
    published = await forge.reviewer.review(REPO, number, at, ReviewState.APPROVED, MARK)
    assert published is ReviewPublished.CLOSED_PULL_REQUEST
    if end == "close":
        forge.people.reopen(str(REPO), number, "boss")
        published = await forge.reviewer.review(REPO, number, at, ReviewState.APPROVED, MARK)
        assert published is ReviewPublished.PUBLISHED


async def test_another_refusal_of_a_review_is_a_fault(forge: Any) -> None:
    number, at = await forge.pull(), forge.head()
    with pytest.raises(Permanent, match="requires a body") as fault:
        await forge.reviewer.review(REPO, number, at, ReviewState.CHANGES_REQUESTED, "")
    assert fault.value.code == "gitea_review_refused"


async def test_what_is_no_verdict_is_not_published(forge: Any) -> None:
    number, at = await forge.pull(), forge.head()
    with pytest.raises(Permanent, match="pending"):
        await forge.reviewer.review(REPO, number, at, ReviewState.PENDING, MARK)


# -- statuses


async def test_a_status_is_posted_when_it_says_something_new(forge: Any) -> None:
    sha, url = forge.head("main"), "https://orch.example.test/tasks/E-1"

    async def say(state: CheckState, text: str, context: str = "orchestrator/gate") -> int:
        await forge.orchestrator.set_status(REPO, sha, context, state, text, url)
        return len(statuses(forge))

    assert await say(CheckState.PENDING, "waits for CI") == 1
    assert await say(CheckState.PENDING, "waits for CI") == 1
    assert await say(CheckState.PENDING, "waits\nfor  CI") == 1
    assert await say(CheckState.PENDING, "waits for a review") == 2
    assert await say(CheckState.SUCCESS, "waits for a review") == 3
    assert await say(CheckState.SUCCESS, "waits for a review", "orchestrator/other") == 4
    assert await say(CheckState.PENDING, "waits for CI") == 5
    assert [row["status"] for row in statuses(forge)] == ["pending", "pending", "success", "success", "pending"]
    assert statuses(forge)[0]["target_url"] == url


async def test_a_description_is_one_bounded_line(forge: Any) -> None:
    for _ in range(2):
        await forge.orchestrator.set_status(
            REPO, forge.head("main"), "orchestrator/gate", CheckState.PENDING, "@dev\r\n\x1b[31m" + "я" * 1000, ""
        )
    (row,) = statuses(forge)
    assert row["description"].startswith("@\u200bdev яяя")
    assert len(row["description"]) <= 210


async def test_a_state_that_is_none_of_ours_is_never_sent(forge: Any) -> None:
    with pytest.raises(ValueError, match="green"):
        await forge.orchestrator.set_status(REPO, forge.head("main"), "c", "green", "", "")  # type: ignore[arg-type]
    assert statuses(forge) == []


async def test_a_status_of_a_commit_that_is_not_there_is_an_error(forge: Any) -> None:
    with pytest.raises((Permanent, Transient)):
        await forge.orchestrator.set_status(REPO, "0" * 40, "c", CheckState.PENDING, "", "")


# -- comments


async def test_a_comment_is_written_once_and_then_edited_in_place(forge: Any) -> None:
    number = await forge.pull()
    for text in ("one", "one", "two @dev"):
        await forge.orchestrator.pull_comment(REPO, number, "orch:task:E-1", text)
    await forge.orchestrator.pull_comment(REPO, number, "orch:report:E-1", "other")
    assert [row["body"] for row in pull_of(forge).comments] == [
        "<!-- orch:task:E-1 -->\ntwo @\u200bdev",
        "<!-- orch:report:E-1 -->\nother",
    ]
    patches = [call for call in list(forge.sim.calls) if call.method == "PATCH"]
    assert len(patches) == 1


async def test_a_comment_of_somebody_else_or_with_the_marker_inside_is_left_alone(forge: Any) -> None:
    number = await forge.pull()
    await forge.guest.pull_comment(REPO, number, "orch:task:E-1", "forged")
    await forge.orchestrator.pull_comment(
        REPO, number, "orch:other", "text of others:\n<!-- orch:task:E-1 -->\nhidden"
    )
    await forge.orchestrator.pull_comment(REPO, number, "orch:task:E-1", "real")
    rows = [(row["user"]["login"], row["body"]) for row in pull_of(forge).comments]
    assert rows == [
        ("guest", "<!-- orch:task:E-1 -->\nforged"),
        ("orchestrator", "<!-- orch:other -->\ntext of others:\n<\u200b!-- orch:task:E-1 -->\nhidden"),
        ("orchestrator", "<!-- orch:task:E-1 -->\nreal"),
    ]


async def test_our_comment_is_found_behind_many_others_and_made_anew_when_deleted(forge: Any) -> None:
    number = await forge.pull()
    await forge.guest.pull_comment(REPO, number, "x", "x")
    row = pull_of(forge).comments[0]
    pull_of(forge).comments[:] = [row | {"id": 50_000 + n, "body": f"chat {n}"} for n in range(170)]
    for text in ("one", "two"):
        await forge.orchestrator.pull_comment(REPO, number, "orch:task", text)
    assert len(pull_of(forge).comments) == 171
    ours = pull_of(forge).comments[-1]
    assert ours["body"].endswith("two")
    forge.people.delete_comment(str(REPO), number, ours["id"], "orchestrator")
    await forge.orchestrator.pull_comment(REPO, number, "orch:task", "three")
    assert pull_of(forge).comments[-1]["body"].endswith("three")


async def test_of_two_comments_of_ours_the_first_is_kept_up(forge: Any) -> None:
    number = await forge.pull()
    await forge.orchestrator.pull_comment(REPO, number, "orch:task", "one")
    twin = pull_of(forge).comments[0]
    pull_of(forge).comments.append(twin | {"id": twin["id"] + 100})
    await forge.orchestrator.pull_comment(REPO, number, "orch:task", "two")
    assert [row["body"].rpartition("\n")[2] for row in pull_of(forge).comments] == ["two", "one"]


async def test_only_people_who_were_asked_for_are_called_by_name(forge: Any) -> None:
    number = await forge.pull()
    await forge.orchestrator.pull_comment(REPO, number, "m", "@boss and @dev, @bossy, @acme/team")
    assert pull_of(forge).comments[0]["body"].endswith("@boss and @\u200bdev, @\u200bbossy, @\u200bacme/team")


async def test_whoever_is_configured_may_be_called_by_name(forge: Any) -> None:
    """F3: everybody else is not, and no program is woken."""
    number = await forge.pull()
    with LoopbackServer(forge.sim.app) as server:
        settings = Settings(gitea_url=server.url, gitea_token=forge.sim.add_token("orchestrator"))
        people = (Person(UserId("u1"), "boss"), Person(UserId("u2")))
        ours = build(settings, Directory(people=people)).forges.orchestrator
        assert isinstance(ours, Gitea)
        await ours.pull_comment(REPO, number, "m", "@boss and @dev")
        await ours.aclose()
    assert pull_of(forge).comments[0]["body"].endswith("@boss and @\u200bdev")

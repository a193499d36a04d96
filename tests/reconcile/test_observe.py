"""In which order a look reads. Its tracker and its forge tell only what is asked here."""

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

import pytest

from green import ITEM, NEW_TASK, OLD, PROJECT, PULL, TASK, approval_of, rejection_of
from orchestrator.domain.errors import Transient
from orchestrator.domain.forge import BranchRules, Check, CheckState, FileEntry, Review
from orchestrator.domain.model import Branch, ProjectId, RepoName, Sha, Stage, WorkItem, WorkItemId
from orchestrator.domain.tracker import Comment
from orchestrator.loglimit import Complaints
from orchestrator.qg.facts import NOT_NEEDED, Absent
from orchestrator.reconcile.observe import Forges, Observed, Observer
from orchestrator.workflow.names import branch_name
from orchestrator.workflow.needs import Look

HEAD = Sha("a" * 40)
WANTED = frozenset({Look.DOCUMENTS, Look.REMARKS})


@dataclass
class Neighbours:
    """Tracker and forge in one, with these files on every branch."""

    names: tuple[str, ...]
    asked: list[str] = field(default_factory=list)
    is_down: bool = False
    item: WorkItem | None = None
    every_review: tuple[Review, ...] = ()
    every_check: tuple[Check, ...] = ()

    async def rules(self, _repo: RepoName, _base: str) -> BranchRules:
        return BranchRules(("ci/*",))

    async def checks(self, _repo: RepoName, _at: Sha) -> tuple[Check, ...]:
        return self.every_check

    async def check_log(self, _repo: RepoName, check: Check) -> str:
        self._answer(f"log of {check.context}")
        return f"{check.context} {check.description} s3cret"

    async def reviews(self, _repo: RepoName, _pull: int) -> tuple[Review, ...]:
        return self.every_review

    async def review_comments(self, _repo: RepoName, _pull: int, review: Review) -> str:
        self._answer(f"comments of {review.id}")
        return f"a.py:1: {review.id} s3cret"

    async def whoami(self) -> str:
        return "bot"

    async def work_item(self, _project: ProjectId, _item: WorkItemId) -> WorkItem | None:
        self._answer("item")
        return self.item

    async def comments(self, _project: ProjectId, _item: WorkItemId) -> tuple[Comment, ...]:
        self._answer("comments")
        return ()

    async def pull_request(self, _repo: RepoName, _base: str, _head: str) -> None:
        self._answer("pull")

    async def pull_request_from(self, _repo: RepoName, _head: str) -> None:
        self._answer("pull of any base")

    async def files(self, _repo: RepoName, folder: str, _at: Sha) -> tuple[FileEntry, ...]:
        self._answer("files")
        return tuple(FileEntry(str(PurePosixPath(folder, name)), "blob", 9) for name in self.names)

    async def file(self, _repo: RepoName, _path: str, _at: Sha, *, max_bytes: int) -> bytes:
        return b"# Goal\nText"[:max_bytes]

    async def branch(self, _repo: RepoName, name: str) -> Branch | None:
        self._answer(f"branch {name}")
        return Branch(name, HEAD) if name == TASK.base_branch else None

    def _answer(self, what: str) -> None:
        self.asked.append(what)
        if self.is_down:
            raise Transient("gitea_unreachable", "Gitea cannot be reached.")


def observing(there: Neighbours) -> Observer:
    return Observer(there, Forges(there), lambda *_: [], Complaints())  # type: ignore[arg-type]  # it has what is asked here


async def asked(names: tuple[str, ...], known: Observed) -> list[str]:
    there = Neighbours(names)
    await observing(there).look(PROJECT, TASK, WANTED, known)
    return there.asked


async def test_comments_are_read_after_documents() -> None:
    assert await asked(("BRD.md",), Observed(branch=Branch("b", HEAD))) == ["files", "comments"]


@pytest.mark.parametrize(("names", "calls"), [((), ["files"]), (("BRD.md",), ["files", "comments"])])
async def test_comments_that_were_read_ahead_are_read_again_where_there_are_documents(
    names: tuple[str, ...], calls: list[str]
) -> None:
    """Else one that was written before a document could be numbered after it, and approve what nobody had read."""
    assert await asked(names, Observed(branch=Branch("b", HEAD), comments=())) == calls


NEW = replace(TASK, stage=Stage.CREATED)
FIRST = frozenset({Look.BRANCH})
HERE = frozenset({Look.BRANCH, Look.DOCUMENTS, Look.REMARKS, Look.PULL})


async def foreseen(there: Neighbours) -> Observed:
    observer = observing(there)
    return await observer.foresee(PROJECT, NEW, await observer.look(PROJECT, NEW, FIRST))


@pytest.mark.parametrize(("head", "calls"), [(HEAD, []), (Sha("b" * 40), ["files"])])
async def test_what_was_foreseen_is_not_asked_for_again_where_the_branch_begins_at_that_commit(
    head: Sha, calls: list[str]
) -> None:
    there = Neighbours(())
    seen = replace(await foreseen(there), branch=Branch(TASK.branch, head))
    assert set(there.asked) == {f"branch {TASK.branch}", f"branch {TASK.base_branch}", "pull", "comments", "files"}
    there.asked.clear()
    then = await observing(there).look(PROJECT, TASK, HERE, seen)
    assert there.asked == calls
    assert (then.pull, then.comments, then.documents) == (Absent(), (), ())


async def test_a_fault_of_what_was_foreseen_is_met_where_the_look_comes_to_it() -> None:
    there = Neighbours((), is_down=True)
    known = Observed(branch=Absent(), base_head=HEAD)
    seen = await observing(there).foresee(PROJECT, NEW, known)
    assert sorted(there.asked) == ["comments", "files", "pull"]
    assert replace(seen, us=known.us) == known  # who we are is no fault
    there.is_down = False
    then = await observing(there).look(PROJECT, TASK, HERE, replace(seen, branch=Branch(TASK.branch, HEAD)))
    assert (then.pull, then.comments, then.documents) == (Absent(), (), ())


async def test_only_of_a_new_task_it_is_asked_where_its_branch_would_begin() -> None:
    there = Neighbours(())
    assert (await observing(there).look(PROJECT, TASK, FIRST)).base_head is None
    assert there.asked == [f"branch {TASK.branch}"]


async def test_documents_that_the_base_has_already_are_read_and_then_the_comments_anew() -> None:
    there = Neighbours(("BRD.md",))
    seen = replace(await foreseen(there), branch=Branch(TASK.branch, HEAD))
    there.asked.clear()
    then = await observing(there).look(PROJECT, TASK, HERE, seen)
    assert there.asked == ["comments"]
    assert then.documents != NOT_NEEDED
    assert len(then.documents) == 1


OURS = branch_name(ITEM.key, ITEM.title)
SOON = ["item", f"branch {OURS}", f"branch {PROJECT.base_branch}"]


async def told_of(there: Neighbours) -> Observer:
    """A delivery about the work item has come, and all that it leads to without a look is done."""
    observer = observing(there)
    observer.news(PROJECT, ITEM.id)
    for _ in range(8):
        await asyncio.sleep(0)
    return observer


async def test_a_new_task_finds_its_item_and_its_branch_read_when_its_delivery_is_stored() -> None:
    there = Neighbours((), item=ITEM)
    observer = await told_of(there)
    assert there.asked == SOON
    seen = await observer.look(PROJECT, NEW_TASK, frozenset({Look.ITEM, Look.BRANCH}))
    assert there.asked == SOON
    assert (seen.item, seen.branch, seen.base_head) == (ITEM, Absent(), HEAD)


async def test_a_branch_that_moved_since_is_read_again() -> None:
    there = Neighbours((), item=ITEM)
    observer = await told_of(there)
    observer.moved(OURS)
    await observer.look(PROJECT, NEW_TASK, frozenset({Look.ITEM, Look.BRANCH}))
    assert there.asked == SOON + SOON[1:]


async def test_a_task_whose_branch_may_be_there_takes_no_earlier_read_of_it() -> None:
    """It may have been made meanwhile: a branch that is gone is another fact than one that is not made yet."""
    there = Neighbours((), item=ITEM)
    observer = await told_of(there)
    await observer.look(PROJECT, replace(TASK, branch=OURS), FIRST)
    assert there.asked == [*SOON, f"branch {OURS}"]


async def test_of_a_task_that_has_a_branch_none_is_read_ahead() -> None:
    there = Neighbours((), item=ITEM)
    observer = Observer(there, Forges(there), lambda *_: [], Complaints(), is_begun=lambda item: item == ITEM.id)  # type: ignore[arg-type]
    observer.news(PROJECT, ITEM.id)
    await asyncio.sleep(0.01)
    assert there.asked == ["item"]


async def test_of_an_item_that_is_not_there_no_branch_is_read() -> None:
    there = Neighbours(())
    await told_of(there)
    assert there.asked == ["item"]


async def test_what_was_missed_is_to_be_looked_at_again_however_the_look_goes_on() -> None:
    """A decision of the same look that comes after an effect of ours rests on the same gap."""
    there = Neighbours((), is_down=True)
    observer, begun = observing(there), Observed(branch=Branch("b", HEAD), comments=())
    missed = await observer.look(PROJECT, TASK, WANTED, begun)
    assert missed.retry_in_s == 0.0
    later = await observer.look(PROJECT, TASK, WANTED, missed.forgetting("reviews"))
    assert (later.documents, later.retry_in_s) == (missed.documents, 0.0)
    there.is_down = False
    seen = await observer.look(PROJECT, TASK, WANTED, later.forgetting("documents"))
    assert (seen.documents, seen.retry_in_s) == ((), None)


def commented(ident: int, login: str, commit: str = HEAD, **changes: Any) -> Review:
    return replace(rejection_of(commit, login, ident), text="", comment_count=2, **changes)


async def reviews_seen(observer: Observer) -> dict[int, str]:
    begun = Observed(branch=Branch("b", HEAD), pull=PULL)
    seen = (await observer.look(PROJECT, TASK, frozenset({Look.REVIEWS}), begun)).reviews
    assert isinstance(seen, tuple)
    return {one.id: one.comments for one in seen}


async def test_comments_at_lines_are_read_of_standing_change_requests_alone_and_once() -> None:
    """A look at a task to which nothing happened costs seven calls, whatever people said of it."""
    every = (
        commented(1, "vera"),  # not her last word
        commented(2, "vera"),
        commented(3, "wim", is_dismissed=True),
        commented(4, "xena", is_official=False),
        commented(5, "yan", OLD),
        replace(commented(6, "zoe"), comment_count=0),
        replace(approval_of(HEAD, "ann", 7), comment_count=2),
    )
    there = Neighbours((), every_review=every)
    observer = Observer(
        there, Forges(there), lambda *_: [], Complaints(), lambda text: text.replace("s3cret", "***")
    )  # type: ignore[arg-type]
    expected = dict.fromkeys(range(1, 8), "") | {2: "a.py:1: 2 ***"}
    assert await reviews_seen(observer) == expected
    assert await reviews_seen(observer) == expected
    assert there.asked == ["comments of 2"]


async def test_of_reviews_only_what_a_change_request_says_is_kept_and_bounded() -> None:
    long = "No. " + "x" * 20_000
    every = (replace(rejection_of(HEAD, "vera", 1), text=long), replace(approval_of(HEAD, "ann", 2), text=long))
    begun = Observed(branch=Branch("b", HEAD), pull=PULL)
    seen = await observing(Neighbours((), every_review=every)).look(
        PROJECT, TASK, frozenset({Look.REVIEWS}), begun
    )
    assert isinstance(seen.reviews, tuple)
    assert [one.text for one in seen.reviews] == [long[:8000], ""]


async def test_of_many_commented_change_requests_the_newest_are_read() -> None:
    there = Neighbours((), every_review=tuple(commented(one, f"u{one}") for one in range(1, 8)))
    seen = await reviews_seen(observing(there))
    assert [ident for ident, said in seen.items() if said] == [3, 4, 5, 6, 7]


async def test_a_change_request_stands_without_its_comments_and_they_are_asked_for_again() -> None:
    there = Neighbours((), every_review=(commented(2, "vera"),), is_down=True)
    observer = observing(there)
    begun = Observed(branch=Branch("b", HEAD), pull=PULL)
    seen = await observer.look(PROJECT, TASK, frozenset({Look.REVIEWS}), begun)
    assert (seen.reviews, seen.missed) == (there.every_review, ())
    there.is_down = False
    assert await reviews_seen(observer) == {2: "a.py:1: 2 s3cret"}


RED = CheckState.FAILURE
CHECKED = frozenset({Look.RULES, Look.CHECKS})


async def test_a_checks_description_is_bounded() -> None:
    there = Neighbours((), every_check=(Check("ci/a", CheckState.SUCCESS, "ci", description="y" * 700),))
    seen = await observing(there).look(PROJECT, TASK, CHECKED, Observed(branch=Branch("b", HEAD)))
    assert isinstance(seen.checks, tuple)
    assert [one.description for one in seen.checks] == ["y" * 500]


def check(context: str, state: CheckState = RED, description: str = "Failing after 5s") -> Check:
    return Check(context, state, "ci", description)


async def logs_seen(observer: Observer) -> dict[str, str]:
    known = Observed(branch=Branch("b", HEAD), pull=PULL)
    seen = await observer.look(PROJECT, TASK, CHECKED, known)
    assert isinstance(seen.checks, tuple)
    return {one.context: one.log_tail for one in seen.checks}


async def test_logs_are_read_of_required_red_checks_alone_and_once() -> None:
    """As above: what somebody's other checks say costs nothing."""
    every = (check("ci/a"), check("ci/b", CheckState.SUCCESS), check("docs"), check("orchestrator/gate"))
    there = Neighbours((), every_check=every)
    observer = observing(there)
    expected = dict.fromkeys([one.context for one in every], "") | {"ci/a": "ci/a Failing after 5s s3cret"}
    for _ in range(2):
        assert await logs_seen(observer) == expected
    assert there.asked == ["log of ci/a"]
    there.every_check = (check("ci/a", description="Failing after 6s"),)
    assert await logs_seen(observer) == {"ci/a": "ci/a Failing after 6s s3cret"}


async def test_of_many_red_checks_five_logs_are_read() -> None:
    there = Neighbours((), every_check=tuple(check(f"ci/{number}") for number in range(7)))
    assert len([said for said in (await logs_seen(observing(there))).values() if said]) == 5


async def test_a_check_is_red_without_its_log_which_is_asked_for_again() -> None:
    there = Neighbours((), every_check=(check("ci/a"),), is_down=True)
    observer = observing(there)
    known = Observed(branch=Branch("b", HEAD), pull=PULL, rules=BranchRules(("ci/*",)))
    seen = await observer.look(PROJECT, TASK, CHECKED, known)
    assert (seen.checks, seen.missed) == (there.every_check, ())
    there.is_down = False
    assert await logs_seen(observer) == {"ci/a": "ci/a Failing after 5s s3cret"}


@pytest.mark.parametrize(("names", "times"), [(("BRD.md",), 1), ((), 2)])
async def test_what_lies_in_a_folder_at_a_commit_is_listed_once_unless_there_is_nothing(
    names: tuple[str, ...], times: int
) -> None:
    there = Neighbours(names)
    observer = observing(there)
    for _ in range(2):
        await observer.look(PROJECT, TASK, frozenset({Look.DOCUMENTS}), Observed(branch=Branch("b", HEAD)))
    assert there.asked == ["files"] * times

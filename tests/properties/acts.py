"""What people and build servers do. Each act is the same in every place: it asks only what lies there.

`can`: there is something to do it to. Nobody reviews a pull request that is not there.
`withdraws`: it makes a fact undone that stood before, or takes back the leave to start. Whoever has not looked
meanwhile never knows of the one and has not used the other.
`aim`: what of the branch's past it is done to. Two places may have different pasts, and whoever goes back meets
what was said there then: with another aim it is another act.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from orchestrator.domain.roles import DocumentName, Language
from orchestrator.qg.verdict import Item
from orchestrator.sim import writings
from orchestrator.sim.world import PROJECT, REPO
from orchestrator.workflow.names import branch_name
from properties.place import APPROVER, BUG, CODE, CONTEXT, GUEST, PERSON, STRANGER, Place

TITLE = "GPX"
APPROVED = "<p>:approved:</p>"


@dataclass(frozen=True)
class Act:
    name: str
    do: Callable[[Place], Awaitable[None] | None]
    can: Callable[[Place], bool] = lambda _: True
    withdraws: Callable[[Place], bool] = lambda _: False
    aim: Callable[[Place], object] = lambda _: None

    def __repr__(self) -> str:
        return self.name

    def is_possible(self, place: Place) -> bool:
        """Nothing is done to a work item that is gone, or to what belongs to it."""
        return self.can(place) and not place.is_item_gone

    async def perform(self, place: Place) -> None:
        place.acted()
        done = self.do(place)
        if done is not None:
            await done
        place.note()


def begin(place: Place) -> None:
    row = place.plane.create_work_item(PROJECT, {"name": TITLE, "description_html": "<p>Please.</p>"}, APPROVER)
    place.item = row["id"]


def write_all(place: Place) -> None:
    """People wrote it all before anybody asked for it."""
    key = f"ENDURO-{place.project_row.last_sequence + 1}"
    named = {"key": key, "title": TITLE, "code": CODE, "test": "t.py", "module": "code"}
    texts = {name: writings.TEXTS[name][Language.EN].format(**named) for name in DocumentName}
    texts[DocumentName.DEV_TASK] += writings.READY[Language.EN]
    files = {f"tasks/{key}/{name.value.upper()}.md": text for name, text in texts.items()}
    place.people.commit(REPO, branch_name(key, TITLE), {**files, CODE: "GOOD = 2\n"}, PERSON)


# comments


def says(html: str, by: str = APPROVER) -> Callable[[Place], None]:
    def say(place: Place) -> None:
        row = place.plane.add_comment(place.item, {"comment_html": html}, by)
        place.said[row["id"]] = place.version + 1

    return say


def _own(place: Place, word: str) -> list[dict[str, Any]]:
    """The approver's comments with this word, newest last."""
    who = place.plane.user(APPROVER).id
    return [row for row in place.comments() if row["actor"] == who and word in row["comment_html"]]


def rewrites(word: str, html: str, by: str) -> Callable[[Place], None]:
    def rewrite(place: Place) -> None:
        place.plane.change_comment(_own(place, word)[-1]["id"], {"comment_html": html}, by, browser=True)

    return rewrite


def forge_approval(place: Place) -> None:
    """A guest makes an approval of what the approver wrote."""
    if not _own(place, "Hello"):
        says("<p>Hello.</p>")(place)
    rewrites("Hello", APPROVED, GUEST)(place)


def delete_approval(place: Place) -> None:
    place.plane.delete_comment(_own(place, ":approved:")[-1]["id"], APPROVER)


def has_said(word: str) -> Callable[[Place], bool]:
    return lambda place: bool(place.item and _own(place, word))


def has_rejected(place: Place) -> bool:
    """Whoever approves takes back what they said last."""
    return bool(words := _own(place, ":")) and ":rejected:" in words[-1]["comment_html"]


# the branch


def pushes(path: str, text: str) -> Callable[[Place], None]:
    def push(place: Place) -> None:
        name = path.format(key=place.key)
        old = place.git.blob(place.head, name) or b""
        new = text if name == CODE else old.decode() + text.format(n=place.acts)
        place.people.commit(REPO, place.branch, {name: new.format(n=place.acts)}, PERSON)

    return push


def has_file(path: str) -> Callable[[Place], bool]:
    return lambda place: bool(place.item and path.format(key=place.key) in place.files)


def has_branch(place: Place) -> bool:
    return bool(place.item and place.head)


def goes_back(steps: int) -> Callable[[Place], None]:
    return lambda place: place.people.force_push(REPO, place.branch, place.heads[steps], PERSON)


def has_past(steps: int) -> Callable[[Place], bool]:
    return lambda place: has_branch(place) and len(place.heads) > steps


def past(steps: int) -> Callable[[Place], object]:
    return lambda place: place.lived(place.heads[steps])


def rewrite_newest(place: Place) -> None:
    place.people.rewrite(REPO, place.branch, {CODE: f"GOOD = {place.acts}\n"}, PERSON)


def below_newest(place: Place) -> object:
    return place.lived(place.git.objects.commits[place.head].parents[0])


# checks


def posts(state: str, *, context: str = CONTEXT, back: int = 0) -> Callable[[Place], None]:
    def post(place: Place) -> None:
        head = place.heads[back] if back else place.head
        place.people.post_status(REPO, head, PERSON, context, state)

    return post


def has_other_check(place: Place) -> bool:
    return any(sha == place.head and context == CONTEXT for sha, context, _ in place.statuses())


# the pull request


def has_pull(place: Place) -> bool:
    """Open, of what lies on the branch."""
    return bool(place.item and place.pull and place.pull.state == "open" and place.pull.head_sha == place.head)


def has_work(place: Place) -> bool:
    """What the developer made is on the branch: before, there is nothing to build, to review or to break."""
    folder = f"tasks/{place.key}"
    there = all(f"{folder}/{name}.md" in place.files for name in ("BRD", "ARCHITECTURE", "DEV_TASK", "DEV_REPORT"))
    return has_pull(place) and there


def touches_ci(place: Place) -> bool:
    return has_work(place) and CI_FILE in place.files


def reviews(event: str) -> Callable[[Place], Awaitable[None]]:
    return lambda place: place.review(event, PERSON, place.head)


def _reviews(place: Place) -> list[dict[str, Any]]:
    rows = place.pull.reviews if place.pull else []
    return [row for row in rows if row["user"]["login"] == PERSON and not row["dismissed"]]


def has_reviewed(place: Place) -> bool:
    return has_pull(place) and bool(_reviews(place))


def dismiss(place: Place) -> None:
    assert place.pull
    place.people.dismiss(REPO, place.pull.number, _reviews(place)[-1]["id"])


def of_pull(what: str) -> Callable[[Place], None]:
    def act(place: Place) -> None:
        assert place.pull
        getattr(place.people, what)(REPO, place.pull.number, PERSON)

    return act


def is_closed(place: Place) -> bool:
    pull = place.pull
    return bool(place.item and pull and pull.state == "closed" and not pull.merged_by and place.head)


def allow(place: Place) -> None:
    says(f"<p>/orch allow-paths {place.head}</p>")(place)


def archive(place: Place) -> None:
    place.plane.archive(place.item)


def always(_: Place) -> bool:
    return True


BRD = "tasks/{key}/BRD.md"
DESIGN = "tasks/{key}/ARCHITECTURE.md"
CI_FILE = ".gitea/workflows/ci.yml"
MORE = "\nMore, {n}.\n"

VOTES = (
    Act("approve", says(APPROVED), withdraws=has_rejected),
    Act("stranger_approves", says(APPROVED, STRANGER)),
    Act("approve_in_code", says("<pre><code>:approved:</code></pre>")),
    Act("approve_in_quote", says("<blockquote><p>:approved:</p></blockquote>")),
    Act("chat", says("<p>Hello.</p>")),
    Act("guest_forges_approval", forge_approval),
    Act("reword_approval", rewrites(":approved:", "<p>:approved: or not?</p>", APPROVER), has_said(":approved:")),
    Act("delete_approval", delete_approval, has_said(":approved:")),
)
REJECT = Act("reject", says("<p>:rejected: not yet</p>"))
EDITS = (
    Act("push_brd", pushes(BRD, MORE), has_file(BRD)),
    Act("push_design", pushes(DESIGN, MORE), has_file(DESIGN)),
)
BACKWARDS = (
    Act("force_push_back", goes_back(1), has_past(1), always, past(1)),
    Act("force_push_far_back", goes_back(2), has_past(2), always, past(2)),
)
CODING = (
    Act("push_code", pushes(CODE, "GOOD = {n}\n"), has_file(CODE)),
    Act("push_bug", pushes(CODE, BUG + " = {n}\n"), has_work),
    Act("push_ci_file", pushes(CI_FILE, "# {n}\n"), has_work),
    Act("rewrite_newest", rewrite_newest, has_past(1), always, below_newest),
    Act("allow_paths", allow, touches_ci),
)
CHECKS = (
    Act("ci_green", posts("success"), has_work, has_other_check),
    Act("ci_red", posts("failure"), has_work, has_other_check),
    Act("ci_green_of_older", posts("success", back=1), has_past(1), aim=past(1)),
    Act("other_ci_green", posts("success", context="ci/other"), has_branch),
    Act("ci_pending", posts("pending"), has_work, has_other_check),
)
REVIEWS = (
    Act("review_approves", reviews("APPROVED"), has_work, has_reviewed),
    Act("review_asks_for_changes", reviews("REQUEST_CHANGES"), has_work, has_reviewed),
    Act("dismiss", dismiss, has_reviewed, always),
)
ENDS = (
    Act("close_pull", of_pull("close"), has_pull),
    Act("reopen_pull", of_pull("reopen"), is_closed, always),
    Act("merge", of_pull("merge"), has_pull),
    Act("archive_item", archive),
)
SWITCHES = (
    Act("pause", says("<p>/orch pause</p>"), withdraws=always),
    Act("resume", says("<p>/orch resume</p>")),
    Act("stranger_pauses", says("<p>/orch pause</p>", STRANGER)),
    Act("why", says("<p>/orch why</p>")),
    Act("cancel", says("<p>/orch cancel</p>")),
)
BEGIN = Act("begin", begin, lambda place: not place.item)
WRITE_ALL = Act("write_all", write_all, lambda place: not place.item)
ANY = (*VOTES, REJECT, *EDITS, *BACKWARDS, *CODING, *CHECKS, *REVIEWS, *ENDS, *SWITCHES)
STALE = (*VOTES, REJECT, *EDITS, *BACKWARDS)
CORE = (VOTES[0], *EDITS, *BACKWARDS, SWITCHES[0])
"""An approval, what makes it stale, and a pause: what most depends on its order."""
FORGED = (VOTES[1], VOTES[2], VOTES[5])
"""What looks like an approval, by a stranger, in code, and by somebody else's hand."""
BY_NAME = {act.name: act for act in ANY}
NEXT = {
    "approval": "approve",
    "check_missing": "ci_green",
    "check_not_green": "ci_green",
    "check_red": "push_code",
    "paused": "resume",
    "cancelled": "resume",
    "pull_request_closed": "reopen_pull",
    "protected_paths": "allow_paths",
    "change_request": "review_approves",
}
"""What somebody does who reads what the task waits for."""


def next_of(waiting: Iterable[Item]) -> Act:
    return next((BY_NAME[NEXT[item.code]] for item in waiting if item.code in NEXT), BY_NAME["chat"])

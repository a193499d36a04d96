"""How far the truth allows a task to stand: the gates told once more, from what lies in Plane and Gitea alone.

Not a line of the product's is in it, and it knows what the product cannot: when which text lay on the branch, and
when which comment was written.
"""

from collections.abc import Iterable, Sequence
from itertools import permutations

from orchestrator.domain.model import Stage
from orchestrator.domain.roles import Role
from properties.place import APPROVER, CONTEXT, PERSON, Place, Spoken

BRD, DESIGN = ("BRD",), ("ARCHITECTURE", "DEV_TASK")
CI_FILE = ".gitea/workflows/ci.yml"
APPROVED, REJECTED = "<p>:approved:</p>", "<p>:rejected: not yet</p>"


def furthest(place: Place, said: Sequence[Spoken]) -> Stage:
    """The last stage that may be reached. `said` are the verdicts of the runs."""
    if place.pull and place.pull.merged_by:
        return Stage.DONE
    newest = {context: state for sha, context, state in place.statuses() if sha == place.head}
    gates = {
        Stage.ANALYSIS: _approved(place, BRD),
        Stage.ARCHITECTURE: _both_approved(place),
        Stage.DEVELOPMENT: _is_work_there(place),
        Stage.CI: newest.get(CONTEXT) == "success",
        Stage.REVIEW: _reviewed(place),
        Stage.TESTING: _last(said, Role.TESTER, place.head) == "passed",
    }
    return next((stage for stage, is_open in gates.items() if not is_open), Stage.READY)


def approvals(place: Place) -> dict[str, int]:
    """The approver's comments that say nothing else, were never touched, and are there: when they were written."""
    approver = place.plane.user(APPROVER).id
    return {
        row["id"]: place.said[row["id"]]
        for row in place.comments()
        if row["actor"] == approver
        and row["comment_html"] == APPROVED
        and row["edited_at"] is None
        and row["updated_by"] in {None, approver}
    }


def _known_since(place: Place, names: Iterable[str]) -> int | None:
    """When the branch had the documents for the first time as they are now; None while one is missing."""
    since = 0
    for name in names:
        path = f"tasks/{place.key}/{name}.md"
        blob = place.files.get(path)
        if blob is None:
            return None
        since = max(since, next(one.version for one in place.history if one.files.get(path) == blob))
    return since


def _approved(place: Place, names: Sequence[str]) -> bool:
    since = _known_since(place, names)
    return since is not None and any(order > since for order in approvals(place).values())


def _both_approved(place: Place) -> bool:
    """By two comments: one counts for one gate."""
    brd, design = _known_since(place, BRD), _known_since(place, DESIGN)
    if brd is None or design is None:
        return False
    if _rejected(place) > max(brd, design):
        return False
    pairs = permutations(approvals(place).values(), 2)
    return any(one > brd and two > design for one, two in pairs)


def _rejected(place: Place) -> int:
    """When the approver rejected, if that is the last word; else 0."""
    mine = [row for row in place.comments() if row["actor"] == place.plane.user(APPROVER).id]
    votes = {place.said[row["id"]]: row for row in mine if row["comment_html"] in (APPROVED, REJECTED)}
    last = max(votes, default=0)
    is_rejection = bool(votes) and votes[last]["comment_html"] == REJECTED and votes[last]["edited_at"] is None
    return last if is_rejection else 0


def _is_work_there(place: Place) -> bool:
    pull, folder = place.pull, f"tasks/{place.key}/"
    if pull is None or pull.state != "open" or pull.head_sha != place.head:
        return False
    paths = place.paths("main", place.head)
    word = f"<p>/orch allow-paths {place.head}</p>"
    is_allowed = CI_FILE not in paths or any(row["comment_html"] == word for row in place.comments())
    return is_allowed and f"{folder}DEV_REPORT.md" in paths and any(not one.startswith(folder) for one in paths)


def _reviewed(place: Place) -> bool:
    rows = [row for row in place.pull.reviews if row["commit_id"] == place.head] if place.pull else []
    mine = [row for row in rows if row["user"]["login"] == "reviewer"]
    theirs = [row for row in rows if row["user"]["login"] == PERSON]
    is_refused = bool(theirs) and theirs[-1]["state"] == "REQUEST_CHANGES" and not theirs[-1]["dismissed"]
    return bool(mine) and mine[-1]["state"] == "APPROVED" and not mine[-1]["dismissed"] and not is_refused


def _last(said: Sequence[Spoken], role: Role, head: str) -> str:
    return next((one.word for one in reversed(said) if one.role == role and one.base == head), "")

"""A small team at work in the simulated Plane and Gitea: an approver and a build server.

They react to what stands there, as people do who look at their browser. Our database they know nothing of.
"""

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from orchestrator.sim.gitea import GiteaSim, Pull
from orchestrator.sim.gitea_people import People
from orchestrator.sim.plane import PlaneSim, Project, Row

JOB = "test"
CONTEXT = f"CI / {JOB} (push)"
"""What the build server's status is called on the forge."""
RED_LOG = b"""\
$ python -m pytest -q
F                                                                        [100%]
________________________________ test_it_works _________________________________
E       AssertionError: the build server was told to fail its first build
FAILED tests/test_it_works.py::test_it_works
Error: Process completed with exit code 1.
"""
GREEN_LOG = (
    b"$ python -m pytest -q\n.                                                                        [100%]\n"
)
_ASKS_FOR = ":approved:"
_DOCUMENT = re.compile(r"tasks/[A-Za-z0-9_-]{1,64}/[A-Za-z0-9_.-]{1,100}")
_TAG = re.compile(r"<[^>]*>")


def project_of(plane: PlaneSim, item: str) -> Project:
    """The project that has the work item."""
    return next(one for home in plane.workspaces.values() for one in home.projects.values() if item in one.items)


def comments_of(plane: PlaneSim, item: str, author: str) -> list[Row]:
    """What this user wrote on the work item, oldest first."""
    who = plane.user(author).id
    with plane.lock:
        return [
            dict(row)
            for row in project_of(plane, item).comments.values()
            if row["issue"] == item and row["actor"] == who
        ]


def text_of(comment_html: str) -> str:
    """As a browser shows it, on one line."""
    return " ".join(html.unescape(_TAG.sub(" ", comment_html)).split())


def pulls_of(gitea: GiteaSim, repo: str, branch: str) -> list[Pull]:
    """Pull requests from this branch, oldest first."""
    with gitea.state:
        return [pull for pull in gitea.repos[repo].pulls.values() if pull.head == branch]


@dataclass(slots=True)
class Approver:
    """Reads the documents that our comment names, on their branch, and approves each version of them once."""

    plane: PlaneSim
    gitea: GiteaSim
    repo: str
    item: str
    person: str
    orchestrator: str
    _approved: set[tuple[str, bytes]] = field(default_factory=set)

    def react(self) -> Iterator[str]:
        """Sentences that say what was done."""
        for comment in comments_of(self.plane, self.item, self.orchestrator):
            text = text_of(comment["comment_html"])
            read = self._read(tuple(dict.fromkeys(_DOCUMENT.findall(text)))) if _ASKS_FOR in text else ()
            if new := [one for one in read if one not in self._approved]:
                self._approved.update(new)
                self.plane.add_comment(self.item, {"comment_html": f"<p>{_ASKS_FOR}</p>"}, self.person)
                yield f"reads {', '.join(path for path, _ in new)} and comments {_ASKS_FOR}"

    def _read(self, paths: Sequence[str]) -> tuple[tuple[str, bytes], ...]:
        """Nothing unless all of them are on one branch."""
        for branch in self._branches():
            found = [(path, self.gitea.file_at(self.repo, branch, path)) for path in paths]
            read = tuple((path, content) for path, content in found if content)
            if paths and len(read) == len(paths):
                return read
        return ()

    def _branches(self) -> list[str]:
        git = self.gitea.repos[self.repo].git
        return [name.removeprefix("refs/heads/") for name in git.refs("refs/heads/feature/")]


@dataclass(slots=True)
class BuildServer:
    """Builds each commit that an open pull request shows; the first `red_builds` of them fail."""

    gitea: GiteaSim
    repo: str
    red_builds: int = 0
    _built: set[str] = field(default_factory=set)

    def react(self) -> Iterator[str]:
        """Sentences that say what was done."""
        for head in self._heads() - self._built:
            is_red = len(self._built) < self.red_builds
            self._built.add(head)
            result, log = ("failure", RED_LOG) if is_red else ("success", GREEN_LOG)
            People(self.gitea).run_job(self.repo, head, JOB, result, log)
            told = " (the demo told it to fail its first build)" if is_red else ""
            yield f"{CONTEXT} on {head[:10]}: {'red' if is_red else 'green'}{told}"

    def _heads(self) -> set[str]:
        with self.gitea.state:
            open_pulls = [pull for pull in self.gitea.repos[self.repo].pulls.values() if pull.state == "open"]
            heads = [self.gitea.head(self.repo, pull.head) for pull in open_pulls]
        return {head for head in heads if head}


@dataclass(slots=True)
class Onlooker:
    """Sees what the orchestrator writes on Plane and Gitea, each thing once."""

    plane: PlaneSim
    gitea: GiteaSim
    repo: str
    item: str
    orchestrator: str
    _seen: set[object] = field(default_factory=set)
    _state: str = ""

    def __post_init__(self) -> None:
        self._state = self._state_name()

    def news(self) -> Iterator[tuple[str, str]]:
        """Where, and what."""
        yield from (("Plane", text) for text in self._on_plane())
        yield from (("Gitea", text) for text in self._on_gitea())

    def _on_plane(self) -> Iterator[str]:
        if (state := self._state_name()) != self._state:
            self._state = state
            yield f"the work item stands in {state}"
        for comment in comments_of(self.plane, self.item, self.orchestrator):
            if self._is_new(comment["id"]):
                yield f"comment: {text_of(comment['comment_html'])[:100]} …"
        for link in list(project_of(self.plane, self.item).links.values()):
            if link["issue"] == self.item and self._is_new(link["id"]):
                yield f"link: {link['url']}"

    def _state_name(self) -> str:
        project = project_of(self.plane, self.item)
        return str(project.states[project.items[self.item]["state"]]["name"])

    def _on_gitea(self) -> Iterator[str]:
        repo = self.gitea.repos[self.repo]
        with self.gitea.state:
            pulls, statuses = list(repo.pulls.values()), list(repo.statuses)
        for pull in pulls:
            if self._is_new(("pull", pull.number)):
                yield f"pull request {pull.number} by {pull.user.login}: {pull.head} → {pull.base}"
            yield from self._on_pull(pull)
        for number, status in enumerate(statuses):
            row = status["row"]
            if row["context"].startswith("orchestrator/") and self._is_new(("status", number)):
                yield f"status {row['context']} at {status['sha'][:10]}: {row['status']}, {row['description']}"

    def _on_pull(self, pull: Pull) -> Iterator[str]:
        for row in list(pull.reviews):
            if self._is_new(("review", row["id"])):
                yield f"review by {row['user']['login']} at {row['commit_id'][:10]}: {row['state']}"
        for row in list(pull.comments):
            if self._is_new(("comment", row["id"])):
                text = " ".join(re.sub(r"<!--.*?-->", "", row["body"]).split())
                yield f"comment on the pull request: {text[:100]} …"

    def _is_new(self, what: object) -> bool:
        is_new = what not in self._seen
        self._seen.add(what)
        return is_new

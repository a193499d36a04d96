"""What people and build servers do on the simulated forge, outside of the calls that our adapter has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.sim.gitea import (
    ACTIONS_USER,
    NO_SHA,
    PULL,
    PULL_COMMENT,
    GiteaSim,
    JobRun,
    Pull,
    Repo,
    Row,
    Shapes,
    User,
    move_head,
    post_review,
    post_status,
    quoted_path,
)
from orchestrator.sim.webhook import GiteaEvent

PULL_LABEL = GiteaEvent("pull_request", "pull_request_label")
PULL_ASSIGN = GiteaEvent("pull_request", "pull_request_assign")
ACTIONS_ID = -2


@dataclass(frozen=True)
class People:
    """Acts in the browser and on the command line. Everything is told as the real server tells it, or is not."""

    sim: GiteaSim

    # git

    def commit(
        self, repo: str, branch: str, files: Mapping[str, str | bytes], login: str, message: str = "Change\n"
    ) -> str:
        """A commit on top of the branch (made from the default branch when it is not there), pushed at once."""
        place, user = self.sim.repos[repo], self.sim.users[login]
        with self.sim.state:
            parent = place.git.branch(branch) or place.git.branch(place.default_branch) or NO_SHA
            new = self._made(place, parent, files, user, message)
            self._moved(place, branch, new, user)
        return new

    def force_push(self, repo: str, branch: str, sha: str, login: str) -> None:
        """The branch stands elsewhere now; no payload says that this was by force."""
        with self.sim.state:
            self._moved(self.sim.repos[repo], branch, sha, self.sim.users[login])

    def rewrite(self, repo: str, branch: str, files: Mapping[str, str | bytes], login: str) -> str:
        """Another commit in place of the branch's newest."""
        place, user = self.sim.repos[repo], self.sim.users[login]
        with self.sim.state:
            parent = place.git.run("rev-parse", f"refs/heads/{branch}^").decode().strip()
            new = self._made(place, parent, files, user, "Rewritten\n")
            self._moved(place, branch, new, user)
        return new

    def delete_branch(self, repo: str, branch: str, login: str) -> None:
        place = self.sim.repos[repo]
        with self.sim.state:
            before = place.git.refs()
            place.git.run("update-ref", "-d", f"refs/heads/{branch}")
            self.sim.pushed(place, before, place.git.refs(), self.sim.users[login])

    # rules

    def protect(
        self, repo: str, contexts: Sequence[str] = (), *, approvals: int = 0, dismiss_stale: bool = False
    ) -> None:
        """A rule of branch protection; nobody is told of it."""
        place = self.sim.repos[repo]
        place.required_contexts, place.required_approvals = list(contexts), approvals
        place.dismiss_stale_approvals = dismiss_stale

    # pull requests

    def merge(self, repo: str, number: int, login: str) -> str:
        """A merge commit: a push on the base, and one `closed`."""
        place, pull, user = self._there(repo, number, login)
        with self.sim.state:
            ours = place.git.branch(pull.base) or NO_SHA
            tree = place.git.merged_tree(ours, pull.head_sha)
            if tree is None:
                raise ValueError(f"pull request {number} has a conflict")
            new = self._merge_commit(place, tree, (ours, pull.head_sha), user)
            pull.state, pull.closed_at = "closed", self.sim.stamp()
            pull.merged_by, pull.merge_commit, pull.updated_at = user, new, self.sim.stamp()
            self._moved(place, pull.base, new, user)
            self._tell(place, pull, "closed", user)
        return new

    def close(self, repo: str, number: int, login: str) -> None:
        place, pull, user = self._there(repo, number, login)
        with self.sim.state:
            pull.state, pull.closed_at = "closed", self.sim.stamp()
            self._tell(place, pull, "closed", user)

    def reopen(self, repo: str, number: int, login: str) -> None:
        """It follows its branch again, and takes over what was pushed meanwhile."""
        place, pull, user = self._there(repo, number, login)
        with self.sim.state:
            moved = place.git.branch(pull.head)
            if moved and moved != pull.head_sha:
                move_head(place, pull, moved)
            pull.state, pull.closed_at = "open", None
            self._tell(place, pull, "reopened", user)

    def edit(self, repo: str, number: int, login: str, *, title: str = "", body: str = "") -> None:
        place, pull, user = self._there(repo, number, login)
        changes: Row = {"title": {"from": pull.title}} if title else {}
        changes |= {"body": {"from": pull.body}} if body else {}
        with self.sim.state:
            pull.title, pull.body = title or pull.title, body or pull.body
            extra = {"changes": changes | {"added_labels": None, "removed_labels": None}}
            self._tell(place, pull, "edited", user, extra=extra)

    def retarget(self, repo: str, number: int, base: str, login: str) -> None:
        """Leads it onto another branch."""
        place, pull, user = self._there(repo, number, login)
        with self.sim.state:
            changes: Row = {"ref": {"from": pull.base}, "added_labels": None, "removed_labels": None}
            pull.base, pull.updated_at = base, self.sim.stamp()
            self._tell(place, pull, "edited", user, extra={"changes": changes})

    def label(self, repo: str, number: int, login: str, *names: str) -> None:
        place, pull, user = self._there(repo, number, login)
        with self.sim.state:
            pull.labels = [self._label(place, name) for name in names]
            self._tell(place, pull, "label_updated" if names else "label_cleared", user, PULL_LABEL)

    def assign(self, repo: str, number: int, login: str, whom: str) -> None:
        place, pull, user = self._there(repo, number, login)
        with self.sim.state:
            pull.assignees = [self.sim.users[whom]]
            self._tell(place, pull, "assigned", user, PULL_ASSIGN)

    def request_changes(
        self, repo: str, number: int, login: str, *comments: tuple[str, int, str], why: str = ""
    ) -> int:
        """With comments at lines (path, line, text), which in the browser, unlike in the API, are enough."""
        place, pull, user = self._there(repo, number, login)
        at_lines = [{"path": path, "new_position": line, "body": text} for path, line, text in comments]
        with self.sim.state:
            order = {"event": "REQUEST_CHANGES", "body": why, "comments": at_lines}
            return int(post_review(self.sim, place, pull, user, order)["id"])

    def dismiss(self, repo: str, number: int, review: int) -> None:
        """Of this the real server tells nobody."""
        pull = self.sim.repos[repo].pulls[number]
        next(row for row in pull.reviews if row["id"] == review)["dismissed"] = True

    def delete_review(self, repo: str, number: int, review: int) -> None:
        """Nor of this."""
        pull = self.sim.repos[repo].pulls[number]
        pull.reviews[:] = [row for row in pull.reviews if row["id"] != review]

    def delete_comment(self, repo: str, number: int, comment: int, login: str) -> None:
        place, pull, user = self._there(repo, number, login)
        with self.sim.state:
            row = next(row for row in pull.comments if row["id"] == comment)
            pull.comments.remove(row)
            event = Shapes(self.sim).comment_event("deleted", place, pull, row, user)
            self.sim.tell(place, PULL_COMMENT, event)

    # checks

    def post_status(self, repo: str, sha: str, login: str, context: str, state: str, **more: str) -> None:
        """As a build server does with a token of this user."""
        place = self.sim.repos[repo]
        with self.sim.state:
            post_status(self.sim, place, sha, self.sim.users[login], {"context": context, "state": state, **more})

    def run_job(self, repo: str, sha: str, name: str, conclusion: str, log: bytes = b"") -> str:
        """A finished job of the server's own CI: a status with a link, and a log. Returns the status's context."""
        place, context = self.sim.repos[repo], f"CI / {name} (push)"
        with self.sim.state:
            number = len(place.jobs) + 1
            place.jobs.append(JobRun(self.sim.next_id(), self.sim.next_id(), number, sha, name, conclusion, log))
            page = f"{self.sim.root_url}/{repo}/actions/runs/{number}/jobs/0"
            values = {"context": context, "state": conclusion, "target_url": page, "description": "Done in 1m30s"}
            actions = User(ACTIONS_ID, ACTIONS_USER, "Gitea Actions", "")
            post_status(self.sim, place, sha, actions, values)
        return context

    # small things

    def _there(self, repo: str, number: int, login: str) -> tuple[Repo, Pull, User]:
        place = self.sim.repos[repo]
        return place, place.pulls[number], self.sim.users[login]

    def _tell(
        self, repo: Repo, pull: Pull, action: str, user: User, event: GiteaEvent = PULL, extra: Row | None = None
    ) -> None:
        pull.updated_at = self.sim.stamp()
        payload = Shapes(self.sim).pull_event(action, repo, pull, user)
        self.sim.tell(repo, event, payload | (extra or {}))

    def _label(self, repo: Repo, name: str) -> Row:
        number = self.sim.next_id()
        row: Row = {"id": number, "name": name, "exclusive": False, "is_archived": False, "color": "00aabb"}
        url = f"{self.sim.root_url}/api/v1/repos/{repo.full_name}/labels/{number}"
        return row | {"description": "", "url": url}

    def _moved(self, repo: Repo, branch: str, new: str, user: User) -> None:
        before = repo.git.refs()
        repo.git.run("update-ref", f"refs/heads/{branch}", new)
        self.sim.pushed(repo, before, repo.git.refs(), user)

    def _made(self, repo: Repo, parent: str, files: Mapping[str, str | bytes], user: User, message: str) -> str:
        """Through a ref of its own, so that the branch moves in one step."""
        scratch, text = f"refs/scratch/{self.sim.next_id()}", message.encode()
        who = f"{user.full_name or user.login} <{user.email}> {int(self.sim.now().timestamp())} +0000"
        out = [f"commit {scratch}\ncommitter {who}\ndata {len(text)}\n".encode(), text, b"\n"]
        out += [f"from {parent}\n".encode()] if parent != NO_SHA else []
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            out += [b"M 100644 inline " + quoted_path(name) + b"\n", f"data {len(data)}\n".encode(), data, b"\n"]
        repo.git.run("fast-import", "--quiet", stdin=b"".join(out))
        made = repo.git.refs("refs/scratch/")[scratch]
        repo.git.run("update-ref", "-d", scratch)
        return made

    def _merge_commit(self, repo: Repo, tree: str, parents: tuple[str, str], user: User) -> str:
        who = f"{user.full_name or user.login} <{user.email}> {int(self.sim.now().timestamp())} +0000"
        lines = [f"tree {tree}", *(f"parent {sha}" for sha in parents), f"author {who}", f"committer {who}"]
        text = "\n".join([*lines, "", "Merge pull request\n"]).encode()
        return repo.git.run("hash-object", "-t", "commit", "-w", "--stdin", stdin=text).decode().strip()

"""What people and build servers do on the simulated forge is told in the samples' exact shape, or not at all."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestrator.sim.gitea import READ, WRITE, GiteaSim
from orchestrator.sim.gitea_people import People
from orchestrator.sim.server import LoopbackServer
from orchestrator.sim.webhook import TRUSTS_NOBODY, Catcher, Received, hmac_hex, load_recorded

FIXTURES = Path(__file__).parents[1] / "fixtures" / "gitea"
REPO = "acme/enduro-trails"
SECRET = "s3cret"
EVENTS = ("push", "create", "delete", "pull_request", "status")
HOP_HEADERS = {"host", "connection", "content-length"}
NOT_SIMULATED = {
    "forgejo_action_run_success",  # Forgejo's own CI: our adapter asks statuses
    "issue_comment_created",  # there are no issues here, only pull requests
    "workflow_job_completed",  # no gate rests on these two (contract, section 4)
    "workflow_run_completed",
}


class Stage:
    """A forge whose deliveries are kept, and the people on it."""

    def __init__(self, sim: GiteaSim, url: str, catcher: Catcher, hook: str) -> None:
        self.sim, self.people, self.catcher = sim, People(sim), catcher
        for login in ("acme", "alice", "bob"):
            sim.add_user(login, login.capitalize())
        sim.create_repo("acme", "enduro-trails", {"README.md": "# Trails\n"})
        for login, role in (("alice", WRITE), ("bob", READ)):
            sim.grant(REPO, login, role)
        self.http = {
            login: httpx.Client(
                verify=TRUSTS_NOBODY,
                base_url=f"{url}/api/v1/repos/{REPO}",
                headers={"Authorization": f"token {sim.add_token(login)}"},
            )
            for login in sim.users
        }
        sim.add_hook(REPO, hook, SECRET, EVENTS)

    def api(self, login: str, path: str, body: object) -> Any:
        answer = self.http[login].post(path, json=body)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def received(self) -> list[Received]:
        self.sim.courier.settle()
        return list(self.catcher.received)

    def play(self) -> None:
        """A pull request's whole life."""
        sha = self.people.commit(REPO, "feature/x", {"a.txt": "a\n"}, "alice")
        self.api("alice", "/pulls", {"head": "feature/x", "base": "main", "title": "WIP: X", "body": "old"})
        self.people.edit(REPO, 1, "alice", title="X")
        self.people.edit(REPO, 1, "alice", body="new")
        self.people.label(REPO, 1, "alice", "ready-for-test")
        self.people.label(REPO, 1, "alice")
        self.people.assign(REPO, 1, "alice", "bob")
        self.api("alice", "/pulls/1/requested_reviewers", {"reviewers": ["bob"]})
        for event in ("APPROVED", "REQUEST_CHANGES", "COMMENT"):
            self.api("bob", "/pulls/1/reviews", {"event": event, "body": "so"})
        comment = self.api("bob", "/issues/1/comments", {"body": "/retest"})["id"]
        self.people.delete_comment(REPO, 1, comment, "bob")
        for state in ("pending", "failure", "success"):
            self.people.post_status(REPO, sha, "alice", "ci", state)
        self.people.run_job(REPO, sha, "test", "success")
        self.people.commit(REPO, "feature/x", {"b.txt": "b\n"}, "alice")
        self.people.close(REPO, 1, "alice")
        self.people.reopen(REPO, 1, "alice")
        self.people.merge(REPO, 1, "alice")
        self.people.delete_branch(REPO, "feature/x", "alice")
        self.api("acme", f"/hooks/{self.sim.repos[REPO].hooks[0].id}/tests", {})


@pytest.fixture(params=["gitea", "forgejo"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    catcher = Catcher()
    with (
        GiteaSim(tmp_path, flavour=request.param) as sim,
        LoopbackServer(sim.app) as server,
        LoopbackServer(catcher) as receiver,
    ):
        made = Stage(sim, server.url, catcher, receiver.url + "/webhook/gitea")
        yield made
        for client in made.http.values():
            client.close()


def shape(value: Any) -> Any:
    """Keys and types all the way down; of a list, the first entry stands for all."""
    if isinstance(value, dict):
        return {key: shape(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


def differences(ours: Any, known: Any, where: str = "") -> list[str]:
    """Where the two shapes part. Null and an empty list say nothing of what else may stand there."""
    if isinstance(ours, dict) and isinstance(known, dict):
        lost = [f"{where}.{key}: only in one" for key in ours.keys() ^ known.keys()]
        return lost + [
            d for key in ours.keys() & known for d in differences(ours[key], known[key], f"{where}.{key}")
        ]
    if isinstance(ours, list) and isinstance(known, list):
        return differences(ours[0], known[0], f"{where}[]") if ours and known else []
    return [] if ours == known or "NoneType" in {str(ours), str(known)} else [f"{where}: {ours} is not {known}"]


def is_of(got: Received, sample: Any) -> bool:
    """The same event, action and kind of thing; a delivery may be another's twin in all but values."""
    ours, known = json.loads(got.body), json.loads(sample.body)
    if got.headers["x-gitea-event-type"] != sample.headers["X-Gitea-Event-Type"]:
        return False
    same = all(ours.get(key) == known.get(key) for key in ("action", "ref_type", "state"))
    return (
        same and (ours.get("changes") or {}).keys() == (known.get("changes") or {}).keys() and is_kin(ours, known)
    )


def is_kin(ours: Any, known: Any) -> bool:
    merged = [bool((one.get("pull_request") or {}).get("merged")) for one in (ours, known)]
    born = [one.get("before", "").strip("0") == "" for one in (ours, known)]
    pings = ["before" in one and one["before"] == one["after"] for one in (ours, known)]
    named = [set((one.get("changes") or {}).keys()) for one in (ours, known)]
    bots = [(one.get("sender") or {}).get("id") == -2 for one in (ours, known)]
    return all(pair[0] == pair[1] for pair in (merged, born, pings, named, bots))


def samples(flavour: str) -> list[str]:
    names = {path.stem for path in FIXTURES.glob("*.body")} - NOT_SIMULATED
    return sorted(name for name in names if name.startswith("forgejo_") == (flavour == "forgejo"))


def test_all_that_is_told_has_the_keys_types_and_headers_of_the_samples(stage: Stage) -> None:
    stage.play()
    received = stage.received()
    for name in samples(stage.sim.flavour):
        sample = load_recorded(FIXTURES / name)
        found = [got for got in received if is_of(got, sample)]
        assert found, f"nothing like {name} was told"
        for got in found:
            known = {key.lower() for key in sample.headers}
            assert set(got.headers) - HOP_HEADERS == known - HOP_HEADERS
            assert got.headers["x-gitea-event"] == sample.headers["X-Gitea-Event"]
            assert got.headers["x-gitea-signature"] == hmac_hex(SECRET, got.body)
            assert differences(shape(json.loads(got.body)), shape(json.loads(sample.body))) == [], name


def test_what_the_real_server_does_not_tell_is_not_told(stage: Stage) -> None:
    stage.people.commit(REPO, "feature/x", {"a.txt": "a\n"}, "alice")
    stage.api("alice", "/pulls", {"head": "feature/x", "base": "main", "title": "X"})
    review = stage.api("bob", "/pulls/1/reviews", {"event": "APPROVED"})["id"]
    before = len(stage.received())
    stage.people.dismiss(REPO, 1, review)
    stage.people.protect(REPO, ["ci"], approvals=1, dismiss_stale=True)
    stage.api("bob", "/pulls/1/reviews", {"event": "PENDING", "body": "draft"})
    assert len(stage.received()) == before
    stage.people.post_status(REPO, stage.sim.head(REPO, "main") or "", "alice", "ci", "success")
    assert len(stage.received()) == before + (stage.sim.flavour == "gitea")


def test_a_merge_is_one_push_and_one_closed(stage: Stage) -> None:
    stage.people.commit(REPO, "feature/x", {"a.txt": "a\n"}, "alice")
    stage.api("alice", "/pulls", {"head": "feature/x", "base": "main", "title": "X"})
    before = len(stage.received())
    merged = stage.people.merge(REPO, 1, "alice")
    told = [(g.headers["x-gitea-event-type"], json.loads(g.body)) for g in stage.received()[before:]]
    assert [(kind, body.get("action")) for kind, body in told] == [("push", None), ("pull_request", "closed")]
    assert told[0][1]["after"] == told[1][1]["pull_request"]["merge_commit_sha"] == merged
    assert stage.sim.head(REPO, "main") == merged


def test_a_closed_pull_request_stays_behind_its_branch_and_reopened_in_the_browser_it_catches_up(
    stage: Stage,
) -> None:
    first = stage.people.commit(REPO, "feature/x", {"a.txt": "a\n"}, "alice")
    stage.api("alice", "/pulls", {"head": "feature/x", "base": "main", "title": "X"})
    stage.people.close(REPO, 1, "alice")
    last = stage.people.commit(REPO, "feature/x", {"a.txt": "b\n"}, "alice")
    assert stage.http["alice"].get("/pulls/1").json()["head"]["sha"] == first
    stage.people.reopen(REPO, 1, "alice")
    assert stage.http["alice"].get("/pulls/1").json()["head"]["sha"] == last


@pytest.mark.parametrize("gone", ["feature/x", "release"])
def test_a_pull_request_is_closed_when_either_of_its_branches_is_deleted(stage: Stage, gone: str) -> None:
    for branch in ("release", "feature/x"):
        stage.people.commit(REPO, branch, {f"{branch}.txt": "a\n"}, "alice")
    for base in ("release", "main"):
        stage.api("alice", "/pulls", {"head": "feature/x", "base": base, "title": "X"})
    before = len(stage.received())
    stage.people.delete_branch(REPO, gone, "alice")
    kinds = [one.headers["x-gitea-event-type"] for one in stage.received()[before:]]
    states = [stage.http["alice"].get(f"/pulls/{number}").json()["state"] for number in (1, 2)]
    closed = ["closed", "closed" if gone == "feature/x" else "open"]
    assert (states, kinds) == (closed, ["delete", *["pull_request"] * closed.count("closed")])


@pytest.mark.parametrize(("version", "known"), [("1.23.8", set()), ("1.24.0", {"status", "workflow_job"})])
def test_an_older_gitea_knows_fewer_events(tmp_path: Path, version: str, known: set[str]) -> None:
    with GiteaSim(tmp_path, version=version) as sim:
        sim.create_repo("acme", "x", {"a": "b"})
        hook = sim.add_hook("acme/x", "http://127.0.0.1:1/", "s", ("status", "workflow_job", "workflow_run"))
    assert set(hook.events) == known


def test_runs_and_jobs_have_the_keys_of_the_samples(stage: Stage) -> None:
    if stage.sim.is_forgejo:
        return
    stage.people.run_job(REPO, stage.sim.head(REPO, "main") or "", "test", "failure", b"log\n")
    run = stage.http["alice"].get("/actions/runs").json()["workflow_runs"][0]
    job = stage.http["alice"].get(f"/actions/runs/{run['id']}/jobs").json()["jobs"][0]
    for ours, name, key in (
        (run, "workflow_run_completed", "workflow_run"),
        (job, "workflow_job_completed", "workflow_job"),
    ):
        assert set(ours) == set(json.loads(load_recorded(FIXTURES / name).body)[key])

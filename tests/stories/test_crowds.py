"""Many at once: tasks, deliveries, pushes."""

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from orchestrator.sim.webhook import TRUSTS_NOBODY, Outgoing, Recorded, hmac_hex, load_recorded
from orchestrator.sim.world import REPO, World
from stories.acts import at, bases, green_until
from stories.team import Team, at_work
from support import FIXTURES, query, starts, until

CREATED = FIXTURES / "plane" / "issue__created__rest.json"


def test_two_work_items_in_one_repository_go_their_own_ways(world: World, scripted: Path) -> None:
    with at_work(world, scripted) as one:
        other = Team(world, one.service, one.client)
        one.begin("Export as GPX")
        other.begin("Import from KML")
        one.waits_for("approval", "analysis")
        other.waits_for("approval", "analysis")
        one.approve()
        one.waits_for("approval", "architecture")
        assert other.waits_for("approval", "analysis")["stage"] == "analysis"
        one.approve()
        other.approved_until("ready")
        green_until(one, at("ready", "merge"))
        other.waits_for("merge", "ready")
        assert one.branch != other.branch
        assert one.pull.number != other.pull.number
        for team, stranger in ((one, other), (other, one)):
            assert world.gitea.file_at(REPO, team.branch, f"tasks/{team.key}/BRD.md")
            assert world.gitea.file_at(REPO, team.branch, f"tasks/{stranger.key}/BRD.md") is None
            assert team.reviews() == [("reviewer", "APPROVED")]


def posted(url: str, delivery: Recorded, body: bytes, ident: str) -> int:
    headers = dict(delivery.headers) | {
        "X-Plane-Delivery": ident,
        "X-Plane-Signature": hmac_hex(delivery.secret, body),
    }
    headers = {name: value for name, value in headers.items() if name.lower() != "content-length"}
    return httpx.post(
        f"{url}/webhook/plane", verify=TRUSTS_NOBODY, content=body, headers=headers, timeout=30
    ).status_code


def crowd(delivery: Recorded) -> list[tuple[bytes, str]]:
    """Fifty: the same again; the same under other ids, as a second hook sends it; and all but the same."""
    same, ident = delivery.body, str(uuid4())
    found = [(same, ident)] * 17 + [(same, str(uuid4())) for _ in range(17)]
    found += [(same + b" " * number, str(uuid4())) for number in range(1, 17)]
    random.Random(4).shuffle(found)
    return found


def test_fifty_identical_and_nearly_identical_deliveries_at_once_start_one_agent(
    world: World, scripted: Path, ledger: Path
) -> None:
    with at_work(world, scripted) as team, ThreadPoolExecutor(50) as pool:
        delivery = load_recorded(CREATED)
        answers = list(pool.map(lambda one: posted(team.service.url, delivery, *one), crowd(delivery)))
        assert answers == [200] * 50
        team.waits_for("approval", "analysis")
        assert len(starts(ledger)) == 1
        assert query(team.service, "SELECT count(*) FROM tasks") == [(1,)]
        assert (
            query(team.service, "SELECT count(*), sum(repeats) + count(*) FROM events WHERE source = 'plane'")[0][
                1
            ]
            >= 50
        )
        assert len(team.comments()) == 1


def captured(team: Team) -> list[Outgoing]:
    """All that Plane and Gitea have told so far, as somebody in between could keep it."""
    created = load_recorded(CREATED)
    ident = created.headers["X-Plane-Delivery"]
    first = Outgoing(ident, "issue/created", f"{team.service.url}/webhook/plane", created.headers, created.body)
    couriers = (team.world.plane.courier, team.world.gitea.courier)
    return [first, *(sent.delivery for courier in couriers for sent in list(courier.sent))]


def replayed(told: Outgoing, ident: str) -> int:
    """The very same bytes and headers, under this id: no signature covers that."""
    headers = {name: ident if value == told.id else value for name, value in told.headers.items()}
    request = httpx.Request("POST", told.url, headers=headers, content=told.body)
    with httpx.Client(timeout=30, trust_env=False, verify=TRUSTS_NOBODY) as client:
        return client.send(request).status_code


def effects(team: Team) -> dict[str, object]:
    """What the deliveries have led to, here and at the neighbours."""
    counted = {
        table: query(team.service, f"SELECT count(*) FROM {table}")
        for table in ("tasks", "agent_runs", "effects", "approvals")
    }
    repo = team.world.gitea.repos[REPO]
    comments = sorted(row["id"] for row in team.in_plane.comments.values())
    return {**counted, "comments": comments, "statuses": len(repo.statuses), "pulls": list(repo.pulls)}


def test_what_was_captured_and_is_sent_again_after_a_restart_has_no_effect(
    world: World, scripted: Path, ledger: Path
) -> None:
    """F5, for all that both neighbours told: under its own id, and under another one."""
    with at_work(world, scripted) as team:
        team.begin()
        team.waits_for("approval", "analysis")
        team.approve()
        team.waits_for("approval", "architecture")
        team.heard()
        team.all_is_written()
        told, before = captured(team), effects(team)
        team.restart()
        events = query(team.service, OUTSIDE)
        assert [replayed(one, one.id) for one in told] == [200] * len(told)
        assert [replayed(one, str(uuid4())) for one in told] == [200] * len(told)
        assert query(team.service, OUTSIDE) == events
        team.heard()
        team.waits_for("approval", "architecture")
        assert effects(team) == before
        assert team.started() == ["analyst", "architect"]
        assert len(starts(ledger)) == 2
        assert {one.event.partition("/")[0] for one in told} >= {"issue", "issue_comment", "create", "push"}


OUTSIDE = "SELECT count(*) FROM events WHERE source IN ('plane', 'gitea')"


def test_an_approval_that_is_delivered_fifty_times_at_once_opens_one_gate(
    world: World, scripted: Path, ledger: Path
) -> None:
    with at_work(world, scripted) as team, ThreadPoolExecutor(50) as pool:
        team.begin()
        team.waits_for("approval", "analysis")
        team.approve()
        until(
            lambda: [one for one in world.plane.deliveries if one.event == "issue_comment/created"], "it was told"
        )
        told = next(one for one in world.plane.deliveries if one.event == "issue_comment/created")
        delivery = Recorded(told.headers, told.body, load_recorded(CREATED).secret)
        answers = list(pool.map(lambda one: posted(team.service.url, delivery, *one), crowd(delivery)))
        assert answers == [200] * 50
        team.waits_for("approval", "architecture")
        assert team.started() == ["analyst", "architect"]
        assert len(starts(ledger)) == 2
        assert len(team.comments()) == 1


@pytest.mark.nightly
def test_five_pushes_in_a_row_are_reviewed_and_tested_once_on_the_last(world: World, scripted: Path) -> None:
    with at_work(world, scripted) as team:
        team.begin()
        team.approved_until("ready")
        team.waits_for("merge")
        pushed = [team.push({"src/more.py": f"MORE = {number}\n"}) for number in range(5)]
        for head in random.Random(7).sample(pushed, 5):
            team.check(head=head)
        team.waits_for("merge", "ready")
        until(lambda: bases(team, "tester")[-1] == pushed[-1], "the last push is tested")
        team.waits_for("merge", "ready")
        assert team.started()[5:] == ["reviewer", "tester"]
        assert bases(team, "reviewer")[1:] == [pushed[-1]]
        assert bases(team, "developer")[1:] == []

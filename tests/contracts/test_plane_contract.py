"""What our Plane adapter relies on, held against the simulator and, on request, against a real Plane.

A real server takes part when these are set: ORCH_TEST_PLANE_URL, ORCH_TEST_PLANE_KEY (a member's API key),
ORCH_TEST_PLANE_WORKSPACE (slug) and ORCH_TEST_PLANE_PROJECT (uuid of a project for throw-away items).
A real Plane allows 60 calls a minute and key: raise API_KEY_RATE_LIMIT there before the run.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from orchestrator.sim.plane import PlaneSim
from orchestrator.sim.server import LoopbackServer

FIXTURES = Path(__file__).parents[1] / "fixtures" / "plane"
SERVERS = ["simulator"] + ["server"] * ("ORCH_TEST_PLANE_URL" in os.environ)
NOBODY = "00000000-0000-4000-8000-000000000000"


@dataclass(frozen=True)
class Plane:
    """A server to be asked, with a member's key and a project to write to."""

    client: httpx.Client
    key: str
    workspace: str
    project: str

    @property
    def items(self) -> str:
        return f"workspaces/{self.workspace}/projects/{self.project}/work-items/"

    def call(self, method: str, path: str, body: object = None, **params: Any) -> httpx.Response:
        return self.client.request(
            method, f"/api/v1/{path}", headers={"X-API-Key": self.key}, json=body, params=params or None
        )

    def new_item(self, **values: Any) -> dict[str, Any]:
        made = self.call("POST", self.items, {"name": "Contract test"} | values)
        assert made.status_code == 201, made.text
        row: dict[str, Any] = made.json()
        return row


@pytest.fixture(params=SERVERS)
def plane(request: pytest.FixtureRequest) -> Iterator[Plane]:
    if request.param == "server":
        names = ("KEY", "WORKSPACE", "PROJECT")
        with httpx.Client(base_url=os.environ["ORCH_TEST_PLANE_URL"], timeout=30) as client:
            yield Plane(client, *(os.environ[f"ORCH_TEST_PLANE_{name}"] for name in names))
        return
    with PlaneSim.from_recording(FIXTURES) as sim, LoopbackServer(sim.app) as server:
        project = next(iter(sim.workspaces["acme"].projects))
        with httpx.Client(base_url=server.url) as client:
            yield Plane(client, sim.key_of("orchestrator"), "acme", project)


def test_the_key_tells_who_we_are(plane: Plane) -> None:
    me = plane.call("GET", "users/me/")
    assert me.status_code == 200
    assert {"id", "email", "display_name"} <= set(me.json())


def test_a_missing_key_is_401_and_a_wrong_one_403(plane: Plane) -> None:
    assert plane.client.get("/api/v1/users/me/").status_code == 401
    wrong = plane.client.get("/api/v1/users/me/", headers={"X-API-Key": "plane_api_" + "0" * 32})
    assert (wrong.status_code, set(wrong.json())) == (403, {"detail"})


def test_a_path_without_its_last_slash_is_a_redirect_to_the_one_with_it(plane: Plane) -> None:
    answer = plane.call("GET", "users/me")
    assert answer.status_code == 301
    assert httpx.URL(answer.headers["Location"]).path == "/api/v1/users/me/"


def test_an_item_read_with_expansion_has_all_that_a_task_needs(plane: Plane) -> None:
    made = plane.new_item(description_html="<p>Text</p>", priority="high")
    row = plane.call("GET", f"{plane.items}{made['id']}/", expand="state,assignees,labels,project").json()
    assert {"id", "name", "group"} <= set(row["state"])
    assert isinstance(row["project"]["identifier"], str)
    assert (row["assignees"], row["labels"]) == ([], [])
    assert (row["is_draft"], row["archived_at"], row["priority"]) == (False, None, "high")
    assert row["description_html"] == "<p>Text</p>"
    by_key = plane.call(
        "GET", f"workspaces/{plane.workspace}/work-items/{row['project']['identifier']}-{row['sequence_id']}/"
    )
    assert by_key.json()["id"] == made["id"]


def test_the_item_changed_last_stands_first_and_pages_go_on(plane: Plane) -> None:
    first, second = plane.new_item(), plane.new_item()
    plane.call("PATCH", f"{plane.items}{first['id']}/", {"priority": "urgent"})
    page = plane.call("GET", plane.items, order_by="-updated_at", per_page=1).json()
    assert [row["id"] for row in page["results"]] == [first["id"]]
    assert page["next_page_results"] is True
    more = plane.call("GET", plane.items, order_by="-updated_at", per_page=1, cursor=page["next_cursor"]).json()
    assert [row["id"] for row in more["results"]] == [second["id"]]
    everything = plane.call("GET", plane.items, order_by="-updated_at", per_page=1000).json()
    stamps = [row["updated_at"] for row in everything["results"]]
    assert stamps == sorted(stamps, reverse=True)


def test_a_page_size_or_cursor_out_of_bounds_is_400(plane: Plane) -> None:
    assert plane.call("GET", plane.items, per_page=1001).status_code == 400
    assert plane.call("GET", plane.items, cursor="xx").status_code == 400


def test_a_state_moves_by_its_id_and_state_id_is_ignored(plane: Plane) -> None:
    made = plane.new_item()
    states = plane.call("GET", plane.items.replace("work-items/", "states/")).json()["results"]
    other = next(state["id"] for state in states if state["id"] != made["state"])
    path = f"{plane.items}{made['id']}/"
    ignored = plane.call("PATCH", path, {"state_id": other})
    assert (ignored.status_code, ignored.json()["state"]) == (200, made["state"])
    assert plane.call("PATCH", path, {"state": other}).json()["state"] == other
    assert plane.call("GET", path).json()["state"] == other
    assert set(plane.call("PATCH", path, {"state": NOBODY}).json()) == {"state"}


def test_a_comment_with_a_known_external_pair_is_409_and_names_the_first(plane: Plane) -> None:
    comments = f"{plane.items}{plane.new_item()['id']}/comments/"
    body = {"comment_html": "<p>one</p>", "external_source": "orchestrator", "external_id": str(uuid4())}
    first = plane.call("POST", comments, body)
    again = plane.call("POST", comments, body)
    assert (first.status_code, again.status_code) == (201, 409)
    assert again.json()["id"] == first.json()["id"]


def test_comments_come_newest_first_and_one_is_edited_in_place(plane: Plane) -> None:
    comments = f"{plane.items}{plane.new_item()['id']}/comments/"
    ids = [plane.call("POST", comments, {"comment_html": f"<p>{n}</p>"}).json()["id"] for n in range(3)]
    edited = plane.call("PATCH", f"{comments}{ids[0]}/", {"comment_html": "<p>new</p>"})
    assert edited.status_code == 200
    rows = plane.call("GET", comments).json()["results"]
    assert [row["id"] for row in rows] == ids[::-1]
    assert rows[-1]["comment_html"] == "<p>new</p>"
    me = plane.call("GET", "users/me/").json()["id"]
    assert {(row["actor"], row["updated_by"]) for row in rows[-1:]} == {(me, me)}


def test_what_was_deleted_is_404(plane: Plane) -> None:
    made = plane.new_item()
    path = f"{plane.items}{made['id']}/"
    comment = plane.call("POST", path + "comments/", {"comment_html": "<p>x</p>"}).json()
    assert plane.call("DELETE", f"{path}comments/{comment['id']}/").status_code == 204
    assert plane.call("GET", f"{path}comments/{comment['id']}/").status_code == 404
    assert plane.call("DELETE", path).status_code == 204
    gone = plane.call("GET", path)
    assert (gone.status_code, gone.json()) == (404, {"error": "The requested resource does not exist."})


def test_a_project_that_is_not_ours_is_403_and_not_404(plane: Plane) -> None:
    foreign = plane.items.replace(plane.project, NOBODY)
    assert plane.call("GET", foreign).status_code == 403
    assert plane.call("GET", f"workspaces/no-such-{uuid4().hex}/projects/").status_code == 403


def test_an_id_that_is_no_uuid_is_404(plane: Plane) -> None:
    assert plane.call("GET", plane.items + "xyz/").json() == {"error": "Page not found."}


def test_answers_say_how_many_calls_are_left(plane: Plane) -> None:
    first, second = plane.call("GET", "users/me/"), plane.call("GET", "users/me/")
    left = [int(answer.headers["X-RateLimit-Remaining"]) for answer in (first, second)]
    assert left[1] < left[0]


def test_members_carry_ids_to_match_people_by(plane: Plane) -> None:
    rows = plane.call("GET", plane.items.replace("work-items/", "members/")).json()
    assert isinstance(rows, list)
    assert all({"id", "email", "display_name"} <= set(row) for row in rows)
    roles = plane.call("GET", f"workspaces/{plane.workspace}/members/").json()
    assert {row["role"] for row in roles} <= {5, 15, 20}

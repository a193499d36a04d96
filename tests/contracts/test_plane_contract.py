"""What our Plane adapter relies on, held against the simulator and, on request, against a real Plane.

A real server takes part when these are set: ORCH_TEST_PLANE_URL, ORCH_TEST_PLANE_KEY (a member's API key),
ORCH_TEST_PLANE_WORKSPACE (slug) and ORCH_TEST_PLANE_PROJECT (uuid of a project for throw-away items).
A real Plane allows 60 calls a minute and key: raise API_KEY_RATE_LIMIT there before the run.

First the bare calls, then our adapter doing the same: what it promises must hold on both servers.
"""

import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from orchestrator.domain.errors import Permanent
from orchestrator.domain.model import ProjectId, WorkItemId
from orchestrator.domain.tracker import Written
from orchestrator.sim.plane import PlaneSim
from orchestrator.sim.server import LoopbackServer
from orchestrator.sim.webhook import TRUSTS_NOBODY
from orchestrator.trackers import plane as adapters
from orchestrator.words.marks import Code, Paragraph, Span, Text, to_html

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
        with httpx.Client(verify=TRUSTS_NOBODY, base_url=server.url) as client:
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


# -- what the adapter needs besides


def test_a_list_of_comments_has_what_an_approval_is_judged_by(plane: Plane) -> None:
    comments = f"{plane.items}{plane.new_item()['id']}/comments/"
    plane.call("POST", comments, {"comment_html": "<p>:approved:</p>"})
    (row,) = plane.call("GET", comments, per_page=100).json()["results"]
    assert (row["comment_html"], row["edited_at"]) == ("<p>:approved:</p>", None)
    assert (row["external_source"], row["external_id"]) == (None, None)
    assert row["actor"] == plane.call("GET", "users/me/").json()["id"]
    assert row["updated_by"] in {None, row["actor"]}


def test_a_page_of_comments_goes_on_where_its_cursor_says(plane: Plane) -> None:
    comments = f"{plane.items}{plane.new_item()['id']}/comments/"
    ids = [plane.call("POST", comments, {"comment_html": f"<p>{n}</p>"}).json()["id"] for n in range(3)]
    first = plane.call("GET", comments, per_page=2).json()
    rest = plane.call("GET", comments, per_page=2, cursor=first["next_cursor"]).json()
    assert [row["id"] for row in first["results"] + rest["results"]] == ids[::-1]
    assert (first["next_page_results"], rest["next_page_results"]) == (True, False)


def test_a_forged_author_of_a_comment_is_not_its_actor(plane: Plane) -> None:
    comments = f"{plane.items}{plane.new_item()['id']}/comments/"
    me = plane.call("GET", "users/me/").json()["id"]
    members = plane.call("GET", plane.items.replace("work-items/", "members/")).json()
    other = next(row["id"] for row in members if row["id"] != me)
    plane.call("POST", comments, {"comment_html": "<p>x</p>", "created_by": other})
    (row,) = plane.call("GET", comments).json()["results"]
    assert (row["actor"], row["created_by"]) == (me, other)


def test_states_and_labels_are_pages_with_ids_and_names(plane: Plane) -> None:
    states = plane.call("GET", plane.items.replace("work-items/", "states/"), per_page=100).json()["results"]
    assert {"backlog", "completed"} <= {row["group"] for row in states}
    assert all({"id", "name", "group"} <= set(row) for row in states)
    labels = plane.call("GET", plane.items.replace("work-items/", "labels/"), per_page=100).json()["results"]
    assert all({"id", "name"} <= set(row) for row in labels)


def test_a_link_is_kept_and_listed(plane: Plane) -> None:
    links = f"{plane.items}{plane.new_item()['id']}/links/"
    made = plane.call("POST", links, {"url": "https://git.example/pulls/2", "title": "Pull request 2"})
    assert made.status_code == 201
    assert {"id", "url", "title"} <= set(made.json())
    assert [row["url"] for row in plane.call("GET", links, per_page=100).json()["results"]] == [made.json()["url"]]


def test_an_unknown_key_or_item_is_planes_own_404(plane: Plane) -> None:
    said = {"error": "The requested resource does not exist."}
    item = plane.call("GET", f"{plane.items}{NOBODY}/", expand="state,labels,project")
    row = plane.new_item()
    identifier = plane.call("GET", f"{plane.items}{row['id']}/", expand="project").json()["project"]["identifier"]
    key = plane.call("GET", f"workspaces/{plane.workspace}/work-items/{identifier}-999999/")
    assert (item.status_code, item.json(), key.status_code, key.json()) == (404, said, 404, said)
    page = plane.call("GET", plane.items.replace("work-items/", "nope/"))
    assert (page.status_code, page.json()) == (404, {"error": "Page not found."})


def test_a_project_answers_for_itself(plane: Plane) -> None:
    row = plane.call("GET", plane.items.removesuffix("work-items/")).json()
    assert row["id"] == plane.project
    assert isinstance(row["identifier"], str)


def test_a_body_that_is_not_json_is_400(plane: Plane) -> None:
    answer = plane.client.post(
        f"/api/v1/{plane.items}",
        headers={"X-API-Key": plane.key, "Content-Type": "application/json"},
        content=b"{not json",
    )
    assert (answer.status_code, set(answer.json())) == (400, {"detail"})


def test_an_answer_is_compressed_when_that_is_asked_for(plane: Plane) -> None:
    row = plane.new_item()
    path, key = f"/api/v1/{plane.items}{row['id']}/", {"X-API-Key": plane.key}
    small = plane.client.get(path, headers=key | {"Accept-Encoding": "gzip"})
    plain = plane.client.get(path, headers=key | {"Accept-Encoding": "identity"})
    assert small.headers.get("Content-Encoding") == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert small.json() == plain.json()


# -- the adapter


@pytest.fixture
async def adapter(plane: Plane) -> AsyncIterator[adapters.Plane]:
    url = str(plane.client.base_url).rstrip("/")
    one = adapters.Plane(url, plane.key, plane.workspace, calls_per_minute=300)
    yield one
    await one.aclose()


async def test_the_adapter_reads_an_item_by_id_and_by_key(plane: Plane, adapter: adapters.Plane) -> None:
    row = plane.new_item(description_html="<p>Text &amp; more</p>")
    item = await adapter.work_item(ProjectId(plane.project), WorkItemId(row["id"]))
    assert item is not None
    assert (item.title, item.description) == ("Contract test", "Text & more")
    assert await adapter.work_item_by_key(item.key) == item
    states = {state.name for state in await adapter.states(ProjectId(plane.project))}
    assert item.state in states
    (newest, *_) = (await adapter.changed_items(ProjectId(plane.project), None)).items
    assert newest == item


async def test_the_adapter_sees_that_an_item_is_gone_and_that_a_project_is_not_ours(
    plane: Plane, adapter: adapters.Plane
) -> None:
    row, project = plane.new_item(), ProjectId(plane.project)
    there = await adapter.listed_items(project)
    assert there is not None
    assert row["id"] in there
    plane.call("DELETE", f"{plane.items}{row['id']}/")
    assert await adapter.listed_items(project) == there - {row["id"]}  # type: ignore[operator]  # it is a set
    assert await adapter.work_item(project, WorkItemId(row["id"])) is None
    assert await adapter.work_item_by_key("NOSUCHPROJECT-1") is None
    with pytest.raises(Permanent) as refusal:
        await adapter.work_item(ProjectId(NOBODY), WorkItemId(row["id"]))
    assert refusal.value.code == "plane_refused"


def said(*spans: Span) -> str:
    return to_html([Paragraph(spans)])


async def test_the_adapter_keeps_one_comment_under_a_key(plane: Plane, adapter: adapters.Plane) -> None:
    project, item = ProjectId(plane.project), WorkItemId(plane.new_item()["id"])
    key = f"{item}/sticky"
    written = await adapter.comment(project, item, key, said(Text("Say "), Code(":approved:"), Text(", @bob <b>")))
    first = written.id
    assert written.is_new
    assert await adapter.comment(project, item, key, said(Text("again"))) == Written(first, is_new=False)
    (before,) = await adapter.comments(project, item)
    assert (before.id, before.external_id, before.is_edited) == (first, key, False)
    assert before.lines == ("Say \ufffc, @\ufffdbob <b>",)
    assert await adapter.edit_comment(project, item, first, said(Text("new")))
    (after,) = await adapter.comments(project, item)
    assert (after.id, after.lines, after.author) == (first, ("new",), await adapter.whoami())
    assert after.digest != before.digest
    plane.call("DELETE", f"{plane.items}{item}/comments/{first}/")
    assert not await adapter.edit_comment(project, item, first, said(Text("newer")))


async def test_the_adapter_hears_what_was_said_and_not_what_was_quoted(
    plane: Plane, adapter: adapters.Plane
) -> None:
    project, item = ProjectId(plane.project), WorkItemId(plane.new_item()["id"])
    comments = f"{plane.items}{item}/comments/"
    for html in (
        "<p>:approved:</p>",
        "<blockquote><p>:approved:</p></blockquote><p>no</p>",
        "<p><code>:approved:</code></p>",
        "<p>:app\u200broved:</p>",
        "<p>:approved:</p><script>:approved:</script>",
    ):
        assert plane.call("POST", comments, {"comment_html": html}).status_code == 201
    heard = [comment.lines for comment in await adapter.comments(project, item)]
    assert heard[1:] == [(":app\ufffdroved:",), (), ("no",), (":approved:",)]


async def test_the_adapter_moves_and_links(plane: Plane, adapter: adapters.Plane) -> None:
    project, item = ProjectId(plane.project), WorkItemId(plane.new_item()["id"])
    state = (await adapter.states(project))[-1]
    for _ in range(2):
        await adapter.move(project, item, state.id)
        await adapter.link(project, item, "https://git.example/pulls/2", "Pull request 2")
    moved = await adapter.work_item(project, item)
    assert moved is not None
    assert moved.state == state.name
    links = plane.call("GET", f"{plane.items}{item}/links/").json()["results"]
    assert [row["url"] for row in links] == ["https://git.example/pulls/2"]
    assert await adapter.whoami() in await adapter.members(project)
    assert isinstance(await adapter.labels(project), dict)

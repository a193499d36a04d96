"""What the adapter reads: rules, files, pulls, reviews and checks, as they are or an error, never a part."""

from dataclasses import replace
from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse, PlainTextResponse, Response

from forges.conftest import Stub
from orchestrator.domain.errors import Permanent, Transient
from orchestrator.domain.forge import BranchRules, CheckState, FileEntry, ForgeCapabilities, Review, ReviewState
from orchestrator.domain.model import RepoName, Sha
from orchestrator.sim.server import LoopbackServer
from orchestrator.sim.webhook import TRUSTS_NOBODY

REPO = RepoName("acme", "enduro-trails")
FORGEJO_16 = {"flavour": "forgejo", "version": "16.0.1+gitea-1.22.0"}


async def calls(forge: Any, since: int = 0) -> list[tuple[str, str]]:
    """Without the one that is made here: a call is noted after its answer left, so a later one waits for that."""
    await forge.guest.whoami()
    made = [(call.method, call.path.removeprefix("/api/v1")) for call in list(forge.sim.calls)[since:]]
    return [call for call in made if call != ("GET", "/user")]


# -- capabilities


@pytest.mark.parametrize(
    ("sim", "status_events", "head_filter"),
    [
        ({}, True, False),
        ({"version": "1.24.0"}, True, False),
        ({"version": "1.23.8"}, False, False),
        ({"version": "1.22.6"}, False, False),
        ({"version": "1.26.0+dev-12-gabc"}, True, False),
        ({"version": "development"}, False, False),
        ({"version": ""} | {"flavour": "forgejo"}, False, False),
        (FORGEJO_16, False, True),
        ({"flavour": "forgejo", "version": "17.0.0-dev-1+gitea-1.22.0"}, False, True),
    ],
    indirect=["sim"],
)
async def test_what_a_server_can_do_is_read_from_its_version_once(
    forge: Any, status_events: bool, head_filter: bool
) -> None:
    wanted = ForgeCapabilities(status_events=status_events, pull_head_filter=head_filter)
    assert [await forge.orchestrator.capabilities() for _ in range(2)] == [wanted] * 2
    assert await calls(forge) == [("GET", "/version")]


# -- rules


async def test_rules_are_read_without_admin_rights_and_count_only_when_they_are_on(forge: Any) -> None:
    assert await forge.guest.rules(REPO, "main") == BranchRules()
    forge.people.protect(str(REPO), ["ci/*", "lint"], approvals=2)
    assert await forge.guest.rules(REPO, "main") == BranchRules(("ci/*", "lint"), 2)
    forge.people.protect(str(REPO), approvals=1)
    assert await forge.guest.rules(REPO, "main") == BranchRules((), 1)
    with pytest.raises(Permanent, match="no repository"):
        await forge.guest.rules(REPO, "no-such")


# -- files


async def test_a_folder_lists_its_regular_files_at_that_commit_only(forge: Any) -> None:
    old = forge.commit(
        {"tasks/E-1/BRD.md": "# BRD\n", "tasks/E-1/deeper/x.md": "no\n", "tasks/E-10/BRD.md": "no\n"}
    )
    git = forge.sim.repos[str(REPO)].git
    stream = (
        b"commit refs/heads/feature/x\ncommitter D <d@x> 1 +0000\ndata 2\nl\n\nfrom refs/heads/feature/x^0\n"
        b"M 120000 inline tasks/E-1/LINK.md\ndata 12\n../../README\n"
        b"M 160000 " + old.encode() + b" tasks/E-1/SUB.md\n"
    )
    git.run("fast-import", "--quiet", stdin=stream)
    at = forge.head()
    blob = git.run("rev-parse", f"{at}:tasks/E-1/BRD.md").decode().strip()
    listed = await forge.orchestrator.files(REPO, "tasks/E-1", at)
    assert listed == [FileEntry("tasks/E-1/BRD.md", blob, 6)]
    for name in ("LINK.md", "SUB.md", "deeper", "none.md"):
        assert await forge.orchestrator.file(REPO, f"tasks/E-1/{name}", at, max_bytes=99) is None
    for folder in ("tasks/E-2", "tasks/E-1/BRD.md"):
        assert await forge.orchestrator.files(REPO, folder, at) == []
    assert await forge.orchestrator.files(REPO, "tasks/E-1", forge.head("main")) == []


async def test_a_file_is_read_at_a_commit_and_cut(forge: Any) -> None:
    at = forge.commit({"план.md": "Привет\n", "empty.md": ""})
    forge.commit({"план.md": "later\n"})
    read = forge.orchestrator.file
    assert await read(REPO, "план.md", at, max_bytes=1000) == "Привет\n".encode()
    assert await read(REPO, "план.md", at, max_bytes=4) == "Пр".encode()
    assert await read(REPO, "empty.md", at, max_bytes=4) == b""
    assert await read(REPO, "план.md", forge.head("main"), max_bytes=4) is None


async def test_a_file_above_the_servers_limit_is_read_by_its_first_bytes(forge: Any) -> None:
    at = forge.commit({"big.bin": b"b" * (11 * 1024 * 1024)})
    assert await forge.orchestrator.file(REPO, "big.bin", at, max_bytes=1000) == b"b" * 1000


OWN_404 = [
    {"message": "The target couldn't be found.", "url": "https://git.example.test/api/swagger"},
    {"message": "Die Datei fehlt.", "url": "http://git/sub/api/swagger", "errors": ["object does not exist"]},
]


@pytest.mark.parametrize("words", OWN_404)
async def test_a_404_in_the_servers_own_shape_says_that_it_is_not_there(stub: Stub, words: object) -> None:
    gitea, at = stub(lambda _: JSONResponse(words, 404)), Sha("a" * 40)
    assert await gitea.branch(REPO, "main") is None
    assert await gitea.files(REPO, "tasks/E-1", at) == []
    assert await gitea.file(REPO, "tasks/E-1/BRD.md", at, max_bytes=1) is None


@pytest.mark.parametrize("words", [*OWN_404, "404 page not found"])
async def test_the_404_of_a_large_file_is_read_whole_however_little_is_wanted(stub: Stub, words: object) -> None:
    entry = {"type": "file", "path": "big.bin", "sha": "b" * 40, "size": 9_000_000_000, "content": None}
    gone = PlainTextResponse(words, 404) if isinstance(words, str) else JSONResponse(words, 404)
    gitea = stub(lambda asked: gone if "/raw/" in asked.url.path else JSONResponse(entry))
    read = gitea.file(REPO, "big.bin", Sha("a" * 40), max_bytes=1)
    if isinstance(words, dict):
        assert await read is None
        return
    with pytest.raises(Transient) as fault:
        await read
    assert (fault.value.code, "proxy" in fault.value.hint) == ("gitea_odd_answer", True)


# -- pull requests


async def test_there_is_no_pull_request_until_there_is_one(forge: Any) -> None:
    assert await forge.orchestrator.pull_request(REPO, "main", "feature/x") is None
    number = await forge.pull()
    found = await forge.guest.pull_request(REPO, "main", "feature/x")
    assert found is not None
    assert (found.number, found.is_open, found.is_merged, found.is_draft) == (number, True, False, False)
    assert (found.head_branch, found.head, found.base_branch) == ("feature/x", forge.head(), "main")
    assert (found.author, found.is_mergeable) == ("orchestrator", True)
    assert found.url.startswith("https://git.example.test/acme/enduro-trails/pulls/")


async def test_a_new_pull_request_is_found_although_the_server_shows_an_old_one(forge: Any) -> None:
    first = await forge.pull()
    forge.people.close(str(REPO), first, "boss")
    second = await forge.pull()
    for _ in range(3):
        forge.people.close(str(REPO), await forge.pull(f"other-{_}"), "boss")
    found = await forge.orchestrator.pull_request(REPO, "main", "feature/x")
    assert (found.number, found.is_open) == (second, True)
    forge.people.close(str(REPO), second, "boss")
    found = await forge.orchestrator.pull_request(REPO, "main", "feature/x")
    assert (found.number, found.is_open, found.is_merged) == (second, False, False)


LIST = ("GET", f"/repos/{REPO}/pulls")


async def test_a_closed_pull_request_that_is_known_costs_one_call_and_what_became_of_it_is_seen(
    forge: Any,
) -> None:
    forge.commit({"r.txt": "r\n"}, "other")
    first = await forge.pull()
    forge.people.close(str(REPO), first, "boss")

    async def seen() -> tuple[tuple[int, bool], int]:
        since = len(forge.sim.calls)
        found = await forge.orchestrator.pull_request(REPO, "main", "feature/x")
        return (found.number, found.is_open), len(await calls(forge, since))

    assert (await seen())[0] == (first, False)
    since = len(forge.sim.calls)
    assert await seen() == ((first, False), 1)
    assert (await calls(forge, since))[0] == LIST
    forge.people.reopen(str(REPO), first, "boss")
    assert await seen() == ((first, True), 1)
    forge.people.close(str(REPO), first, "boss")
    assert (await seen())[0] == (first, False)
    second = await forge.pull()
    assert await seen() == ((second, True), 1)
    forge.people.close(str(REPO), second, "boss")
    assert (await seen())[0] == await at_first_sight(forge) == (second, False)
    assert await seen() == ((second, False), 1)
    forge.people.retarget(str(REPO), second, "other", "boss")
    assert (await seen())[0] == (first, False)


async def at_first_sight(forge: Any) -> tuple[int, bool]:
    """By somebody who has seen none before."""
    found = await forge.guest.pull_request(REPO, "main", "feature/x")
    return found.number, found.is_open


def row(number: int, minute: int, head: str = "other", state: str = "closed") -> dict[str, Any]:
    ends = {name: {"ref": ref, "sha": "a" * 40, "repo_id": 1} for name, ref in (("head", head), ("base", "main"))}
    at = f"2026-11-27T10:{minute:02}:00Z"
    return {"number": number, "title": "t", "state": state, "updated_at": at} | ends


async def test_where_more_has_changed_than_fits_a_page_a_closed_pull_request_is_looked_up_anew(stub: Stub) -> None:
    closed, asked = row(1, 5, "feature/x"), list[str]()
    pages = {"open": [], "closed": [closed], "all": [row(100 + n, 10) for n in range(50)]}

    def answer(request: Any) -> Response:
        if request.url.path.endswith("/version"):
            return JSONResponse({"version": "1.27.1"})
        asked.append(request.query_params.get("state", "ends"))
        if asked[-1] == "ends":
            return JSONResponse(closed)
        rows = pages[asked[-1]]
        total = 500 if asked[-1] == "all" else len(rows)
        return JSONResponse(rows, headers={"X-Total-Count": str(total)})

    gitea = stub(answer)
    for wanted in (["ends", "open", "closed"], ["all", "ends", "open", "closed"]):
        asked.clear()
        found = await gitea.pull_request(REPO, "main", "feature/x")
        assert (found and found.number, asked) == (1, wanted)
    pages["all"][-1] = row(150, 4)
    pages["all"][0] = row(200, 11, "feature/x", "open")
    asked.clear()
    found = await gitea.pull_request(REPO, "main", "feature/x")
    assert (found and found.number, asked) == (200, ["all"])


@pytest.mark.parametrize("sim", [{}, FORGEJO_16], ids=["gitea", "forgejo-16"], indirect=True)
@pytest.mark.parametrize("base", ["release/1.0", "2024"])
async def test_a_base_that_fits_no_path_is_looked_for_in_the_list(forge: Any, base: str) -> None:
    forge.commit({"r.txt": "r\n"}, base)
    number = await forge.pull(base=base)
    await forge.pull("feature/x2", base)
    assert (await forge.orchestrator.pull_request(REPO, base, "feature/x")).number == number
    assert await forge.orchestrator.pull_request(REPO, base, "feature/none") is None
    assert await forge.orchestrator.pull_request(REPO, "main", "feature/x") is None


@pytest.mark.parametrize("sim", [{}, FORGEJO_16], ids=["gitea", "forgejo-16"], indirect=True)
async def test_one_that_leads_elsewhere_is_found_by_its_branch_while_it_is_open(forge: Any) -> None:
    forge.commit({"r.txt": "r\n"}, "release/1.0")
    number = await forge.pull()
    await forge.pull("feature/x2")
    forge.people.retarget(str(REPO), number, "release/1.0", "boss")
    assert await forge.orchestrator.pull_request(REPO, "main", "feature/x") is None
    found = await forge.orchestrator.pull_request_from(REPO, "feature/x")
    assert (found.number, found.base_branch, found.is_open) == (number, "release/1.0", True)
    forge.people.close(str(REPO), number, "boss")
    assert await forge.orchestrator.pull_request_from(REPO, "feature/x") is None


async def test_the_branch_of_a_closed_pull_request_may_be_gone(forge: Any) -> None:
    sha, number = forge.commit({"a.txt": "a\n"}), await forge.pull()
    forge.people.delete_branch(str(REPO), "feature/x", "boss")
    row = forge.sim.repos[str(REPO)].pulls[number]
    assert row.state == "closed"
    found = await forge.orchestrator.pull_request(REPO, "main", "feature/x")
    assert (found.number, found.head_branch, found.head, found.is_open) == (number, "feature/x", sha, False)


async def test_a_merge_a_draft_a_conflict_and_a_server_that_still_looks_are_told_apart(forge: Any) -> None:
    number = await forge.pull()

    async def seen() -> tuple[bool, bool, bool, bool]:
        found = await forge.orchestrator.pull_request(REPO, "main", "feature/x")
        return found.is_open, found.is_draft, found.is_mergeable, found.is_merged

    assert await seen() == (True, False, True, False)
    forge.people.edit(str(REPO), number, "boss", title="WIP: not yet")
    assert await seen() == (True, True, False, False)
    forge.people.edit(str(REPO), number, "boss", title="Done")
    forge.sim.repos[str(REPO)].pulls[number].checking = True
    assert await seen() == (True, False, False, False)
    forge.sim.repos[str(REPO)].pulls[number].checking = False
    forge.commit({"feature/x.txt": "other\n"}, "main", "boss")
    assert await seen() == (True, False, False, False)
    forge.people.rewrite(str(REPO), "feature/x", {"another.txt": "1\n"}, "dev")
    assert await seen() == (True, False, True, False)
    forge.people.merge(str(REPO), number, "boss")
    assert await seen() == (False, False, True, True)


# -- reviews


def token(forge: Any, login: str) -> Any:
    return httpx.Client(verify=TRUSTS_NOBODY, headers={"Authorization": f"token {forge.sim.add_token(login)}"})


def verdict(forge: Any, number: int, login: str, event: str = "APPROVED", body: str = "so", **more: Any) -> int:
    with LoopbackServer(forge.sim.app) as server, token(forge, login) as client:
        url = f"{server.url}/api/v1/repos/{REPO}/pulls/{number}/reviews"
        made = client.post(url, json={"event": event, "body": body, **more})
        assert made.status_code == 200, made.text
        return int(made.json()["id"])


def ask_again(forge: Any, number: int, login: str) -> None:
    with LoopbackServer(forge.sim.app) as server, token(forge, "orchestrator") as client:
        url = f"{server.url}/api/v1/repos/{REPO}/pulls/{number}/requested_reviewers"
        assert client.post(url, json={"reviewers": [login]}).status_code == 201


def brief(reviews: Any) -> list[tuple[Any, ...]]:
    return [(one.author, one.state, one.is_stale, one.is_official, one.is_dismissed) for one in reviews]


async def test_reviews_say_whose_and_how_much_they_count(forge: Any) -> None:
    number = await forge.pull()
    for login, event in (("guest", "APPROVED"), ("boss", "APPROVED"), ("boss", "REQUEST_CHANGES")):
        verdict(forge, number, login, event)
    verdict(forge, number, "dev", "COMMENT")
    assert brief(await forge.orchestrator.reviews(REPO, number)) == [
        ("guest", ReviewState.APPROVED, False, False, False),
        ("boss", ReviewState.APPROVED, False, False, True),
        ("boss", ReviewState.CHANGES_REQUESTED, False, True, False),
        ("dev", ReviewState.COMMENTED, False, False, False),
    ]
    first = (await forge.orchestrator.reviews(REPO, number))[0]
    assert (first.commit, first.text) == (forge.head(), "so")
    page = f"https://git.example.test/acme/enduro-trails/pulls/{number}"
    assert first.url == f"{page}#issuecomment-{first.id}"


@pytest.mark.parametrize("url", [None, "", "javascript:alert(1)", "http://x/a b", f"http://x/{'y' * 2000}"])
async def test_a_reviews_address_is_shown_only_when_it_is_one_of_the_web(forge: Any, url: str | None) -> None:
    number = await forge.pull()
    verdict(forge, number, "boss", "COMMENT")
    forge.sim.repos[str(REPO)].pulls[number].reviews[0]["html_url"] = url
    assert [one.url for one in await forge.orchestrator.reviews(REPO, number)] == [""]


async def test_a_push_makes_reviews_stale_and_a_mere_rebase_does_not(forge: Any) -> None:
    forge.people.protect(str(REPO), dismiss_stale=True)
    number = await forge.pull()
    old = forge.head()
    verdict(forge, number, "boss")
    forge.commit({"README.md": "moved\n"}, "main", "boss")
    rebased = forge.people._made(
        forge.sim.repos[str(REPO)], forge.head("main"), {"feature/x.txt": "x\n"}, forge.sim.users["dev"], "again\n"
    )
    forge.people.force_push(str(REPO), "feature/x", rebased, "dev")
    assert brief(await forge.orchestrator.reviews(REPO, number)) == [
        ("boss", ReviewState.APPROVED, False, True, False)
    ]
    assert (await forge.orchestrator.reviews(REPO, number))[0].commit == old != rebased
    forge.commit({"more.txt": "m\n"})
    assert brief(await forge.orchestrator.reviews(REPO, number)) == [
        ("boss", ReviewState.APPROVED, True, True, True)
    ]


async def test_back_to_the_approved_commit_the_review_is_fresh_again(forge: Any) -> None:
    number, old = await forge.pull(), forge.head()
    verdict(forge, number, "boss")
    forge.commit({"more.txt": "m\n"})
    assert (await forge.orchestrator.reviews(REPO, number))[0].is_stale
    forge.people.force_push(str(REPO), "feature/x", old, "dev")
    assert not (await forge.orchestrator.reviews(REPO, number))[0].is_stale


async def test_a_dismissal_and_a_new_request_take_an_approval_back_without_a_word(forge: Any) -> None:
    number = await forge.pull()
    approval = verdict(forge, number, "boss")
    ask_again(forge, number, "boss")
    assert brief(await forge.orchestrator.reviews(REPO, number)) == [
        ("boss", ReviewState.APPROVED, False, False, False),
        ("boss", ReviewState.REQUESTED, False, True, False),
    ]
    forge.people.dismiss(str(REPO), number, approval)
    assert (await forge.orchestrator.reviews(REPO, number))[0].is_dismissed


async def test_all_pages_of_reviews_are_read_with_drafts_that_are_counted_but_not_shown(forge: Any) -> None:
    number = await forge.pull()
    pull = forge.sim.repos[str(REPO)].pulls[number]
    model = verdict(forge, number, "boss", "COMMENT")
    row = pull.reviews[0]
    drafts = [row | {"id": model + 1 + n, "state": "PENDING"} for n in range(110)]
    pull.reviews[:] = [row, *drafts, row | {"id": model + 999, "state": "REQUEST_CHANGES"}]
    seen = await forge.orchestrator.reviews(REPO, number)
    assert [(one.id, one.state) for one in seen] == [
        (model, ReviewState.COMMENTED),
        (model + 999, ReviewState.CHANGES_REQUESTED),
    ]
    pull.reviews[:] = [row | {"id": model + n} for n in range(120)]
    before = len(forge.sim.calls)
    assert len(await forge.orchestrator.reviews(REPO, number)) == 120
    assert len(await calls(forge, before)) == 3


async def test_more_reviews_than_can_be_read_are_an_error_and_not_a_part(forge: Any) -> None:
    number = await forge.pull()
    verdict(forge, number, "boss", "COMMENT")
    pull = forge.sim.repos[str(REPO)].pulls[number]
    pull.reviews[:] = [pull.reviews[0] | {"id": 10_000 + n} for n in range(2001)]
    with pytest.raises(Permanent, match="more than 2000"):
        await forge.orchestrator.reviews(REPO, number)


async def test_a_review_of_a_team_or_of_nobody_and_of_an_unknown_kind_is_no_verdict(forge: Any) -> None:
    number = await forge.pull()
    verdict(forge, number, "boss", "COMMENT")
    row = forge.sim.repos[str(REPO)].pulls[number].reviews[0]
    row |= {"user": None, "state": "", "commit_id": None, "body": None, "html_url": None}
    assert await forge.orchestrator.reviews(REPO, number) == [
        Review(row["id"], "", ReviewState.PENDING, "", is_stale=False, is_official=False, is_dismissed=False)
    ]


def said_at_lines(forge: Any, number: int, *comments: tuple[str, int, str]) -> int:
    return int(forge.people.request_changes(str(REPO), number, "boss", *comments))


async def comments_of(forge: Any, number: int) -> str:
    (review,) = await forge.orchestrator.reviews(REPO, number)
    return str(await forge.orchestrator.review_comments(REPO, number, review))


async def test_what_a_review_says_at_lines_is_told_by_path_and_line(forge: Any) -> None:
    number = await forge.pull()
    said_at_lines(
        forge, number, ("src/b.py", 7, "Why?"), ("src/a.py", 12, "Not so.\r\nLike this."), ("src/a.py", 3, "No.")
    )
    (review,) = await forge.orchestrator.reviews(REPO, number)
    assert (review.text, review.comment_count, review.comments) == ("", 3, "")
    before = len(forge.sim.calls)
    said = await forge.guest.review_comments(REPO, number, review)
    assert said == "src/a.py:3: No.\nsrc/a.py:12: Not so.\n  Like this.\nsrc/b.py:7: Why?"
    assert len(await calls(forge, before)) == 1


async def test_a_line_that_is_gone_is_told_as_an_old_one(forge: Any) -> None:
    number = await forge.pull()
    at_lines = [{"path": "README.md", "old_position": 4, "body": "Leave it."}]
    verdict(forge, number, "boss", "REQUEST_CHANGES", comments=at_lines)
    assert await comments_of(forge, number) == "README.md (old line 4): Leave it."


async def test_comments_at_lines_are_foreign_and_bounded(forge: Any) -> None:
    number = await forge.pull()
    odd = ("a\nb.py" + "x" * 300, 1, "\x1b[31mred\x1b[0m\u202e\x00 " + "y" * 2000)
    said_at_lines(forge, number, odd)
    said = await comments_of(forge, number)
    place, _, text = said.partition(": ")
    assert place == "a b.py" + "x" * 193 + "…:1"
    assert text == "red " + "y" * 995 + "…"


@pytest.mark.parametrize(("count", "size", "kept"), [(51, 1, 50), (30, 900, 6)])
async def test_of_many_comments_at_lines_only_whole_ones_are_told(
    forge: Any, count: int, size: int, kept: int
) -> None:
    number = await forge.pull()
    said_at_lines(forge, number, *(("a.py", line + 1, "y" * size) for line in range(count)))
    told = (await comments_of(forge, number)).splitlines()
    assert told[:kept] == [f"a.py:{line + 1}: {'y' * size}" for line in range(kept)]
    assert told[kept:] == ([] if size == 1 else ["…"])
    assert len("\n".join(told)) <= 6002


async def test_the_comments_of_a_review_that_is_gone_are_an_error(forge: Any) -> None:
    number = await forge.pull()
    said_at_lines(forge, number, ("a.py", 1, "No."))
    (review,) = await forge.orchestrator.reviews(REPO, number)
    forge.people.delete_review(str(REPO), number, review.id)
    with pytest.raises(Permanent):
        await forge.orchestrator.review_comments(REPO, number, review)


# -- checks


async def test_the_newest_status_of_each_context_counts_whoever_wrote_it(forge: Any) -> None:
    await forge.pull()
    for context, state in (("ci/a", "success"), ("ci/a", "failure"), ("ci/b", "pending"), ("ci/b", "success")):
        forge.status(context, state)
    forge.status("orchestrator/gate", "pending", login="orchestrator")
    forge.status("odd", "green!")
    seen = [(one.context, one.state, one.creator) for one in await forge.guest.checks(REPO, forge.head())]
    assert seen == [
        ("ci/a", CheckState.FAILURE, "ci"),
        ("ci/b", CheckState.SUCCESS, "ci"),
        ("odd", CheckState.PENDING, "ci"),
        ("orchestrator/gate", CheckState.PENDING, "orchestrator"),
    ]


@pytest.mark.parametrize("state", list(CheckState))
async def test_every_state_is_kept_apart(forge: Any, state: CheckState) -> None:
    forge.status("ci", state.value, forge.head("main"))
    assert [one.state for one in await forge.orchestrator.checks(REPO, forge.head("main"))] == [state]


@pytest.mark.parametrize("sim", [{}, {"flavour": "forgejo"}], ids=["gitea", "forgejo"], indirect=True)
async def test_a_commit_without_a_status_has_no_checks(forge: Any) -> None:
    assert await forge.orchestrator.checks(REPO, forge.head("main")) == []


async def test_a_red_check_on_the_last_page_is_seen(forge: Any) -> None:
    sha = forge.head("main")
    for number in range(119):
        forge.status(f"ci/{number:03}", "success", sha)
    forge.status("zz", "failure", sha)
    seen = await forge.orchestrator.checks(REPO, sha)
    assert len(seen) == 120
    assert [one.context for one in seen if one.state is not CheckState.SUCCESS] == ["zz"]


async def test_a_status_of_another_commit_is_not_this_ones(forge: Any) -> None:
    old = forge.commit({"a.txt": "1\n"})
    forge.status("ci", "success", old)
    new = forge.commit({"a.txt": "2\n"})
    assert await forge.orchestrator.checks(REPO, new) == []
    with pytest.raises(Permanent):
        await forge.orchestrator.checks(REPO, Sha("0" * 40))


# -- logs


async def test_the_end_of_a_failed_jobs_log_is_plain_text(forge: Any) -> None:
    log = b"x" * 20_000 + b"\r\n\x1b[31mFAILED\x1b[0m test_a\x07\n\x1b]0;title\x07E   assert 1 == 2\n\xff\x00\n"
    sha = forge.head("main")
    for number in range(3):
        forge.people.run_job(str(REPO), sha, f"job{number}", "failure", b"other\n")
    context = forge.people.run_job(str(REPO), sha, "test", "failure", log)
    check = next(one for one in await forge.orchestrator.checks(REPO, sha) if one.context == context)
    assert check.creator == "gitea-actions"
    tail = await forge.orchestrator.check_log(REPO, check)
    assert len(tail) <= 8_000
    assert tail.endswith("FAILED test_a\nE   assert 1 == 2\n\ufffd")
    assert not set(tail) & {chr(n) for n in range(32)} - {"\n"}


@pytest.mark.parametrize("sim", [{"version": "1.24.0"}, {"flavour": "forgejo"}], indirect=True)
async def test_a_server_without_logs_has_none(forge: Any) -> None:
    forge.people.run_job(str(REPO), forge.head("main"), "test", "failure", b"secret\n")
    (check,) = await forge.orchestrator.checks(REPO, forge.head("main"))
    assert await forge.orchestrator.check_log(REPO, check) == ""


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://ci.example.test/job/1",
        "https://git.example.test/acme/other/actions/runs/1/jobs/0",
        "https://git.example.test/acme/enduro-trails/actions/runs/1/jobs/../../../../user",
        "http://[::1",
    ],
)
async def test_a_link_that_is_not_this_repositorys_job_asks_nothing(forge: Any, url: str) -> None:
    forge.people.run_job(str(REPO), forge.head("main"), "test", "failure", b"secret\n")
    (check,) = await forge.orchestrator.checks(REPO, forge.head("main"))
    before = len(forge.sim.calls)
    assert await forge.orchestrator.check_log(REPO, replace(check, url=url)) == ""
    assert await calls(forge, before) == []

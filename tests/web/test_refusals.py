"""Every route that changes something, with each reason to refuse it. They are walked: none can be forgotten.

"Refused" is a status, and a database in which not a byte of a row is another one.
"""

from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection
from starlette.routing import Mount, Route

import counted
from doors import ALONE, API_TOKEN, FORM, ORIGIN, House, house
from orchestrator.web.access import ADMINS, OPEN, READING

FOREIGN = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
OWN = {"origin": ORIGIN, "sec-fetch-site": "same-origin"}
BEARER = {"authorization": f"Bearer {API_TOKEN}"}
BROWSER = {"accept": "text/html,application/xhtml+xml"}


def changes(routes: Iterable[Any], below: str = "") -> Iterator[tuple[str, str]]:
    """(method, path) of all that may change something, each parameter filled in."""
    for one in routes:
        if isinstance(one, Mount) and one.routes:
            yield from changes(one.routes, below + one.path)
        elif isinstance(one, Mount):
            assert one.path == "/static", f"{one.path} is mounted: is it judged?"
        else:
            assert isinstance(one, Route), f"{one!r} is of a kind that this walk does not know"
            path = below + one.path
            for name in one.param_convertors:
                path = path.replace(f"{{{name}}}", "1").replace(f"{{{name}:path}}", "1")
            yield from ((method, path) for method in sorted(one.methods or ()) if method not in READING)


def described(house: House) -> set[tuple[str, str]]:
    paths = house.orchestrator.api().openapi()["paths"]
    return {(method.upper(), path) for path, methods in paths.items() for method in methods}


def walked(house: House) -> list[tuple[str, str]]:
    app = house.orchestrator.api()
    found = list(changes(app.routes))
    told = [one for one in described(house) if one[0] not in READING]
    assert len({path for _, path in found if path.startswith("/api/")}) >= len(told) > 0
    assert len(found) > 10
    return found


def dump(connection: Connection) -> list[str]:
    driver: Any = connection.connection.driver_connection
    return list(driver.iterdump())


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as one:
        yield one


def cases(home: House) -> dict[str, dict[str, str]]:
    """Headers by the name of what is wrong with them. All the rest of each is right."""
    session, other = home.session("boss"), home.session("boss")
    signed_in = home.cookie(session) | OWN | {"x-csrf-token": home.csrf(session)}
    reader = home.session("reader")
    return {
        "no auth": {},
        "no auth, from our page": OWN,
        "a wrong token": {"authorization": "Bearer wrong"},
        "a stranger's session": home.cookie(home.session("stranger")) | OWN,
        "wrong scope": home.cookie(reader) | OWN | {"x-csrf-token": home.csrf(reader)},
        "wrong Origin": signed_in | FOREIGN,
        "wrong Origin, with a token": BEARER | FOREIGN,
        "wrong Origin alone": signed_in | {"origin": "https://evil.example"},
        "wrong Origin, that begins as ours": signed_in | {"origin": f"{ORIGIN}.evil.example"},
        "wrong Origin, of no page": signed_in | {"origin": "null"},
        "wrong Origin, another port": signed_in | {"origin": f"{ORIGIN}:8443"},
        "wrong Origin, without https": signed_in | {"origin": "http://orch.example"},
        "a neighbour's page": signed_in | {"sec-fetch-site": "same-site"},
        "a neighbour's page, with a token": BEARER | {"sec-fetch-site": "same-site"},
        "no Origin": {name: value for name, value in signed_in.items() if name != "origin"},
        "wrong Host": signed_in | {"host": "evil.example"},
        "wrong Host, with a token": BEARER | {"host": "evil.example:8500"},
        "wrong Host, that ends as ours": BEARER | {"host": "evil.orch.example"},
        "no CSRF token": home.cookie(session) | OWN,
        "an empty CSRF token": signed_in | {"x-csrf-token": ""},
        "somebody else's CSRF token": signed_in | {"x-csrf-token": home.csrf(other)},
        "a CSRF token with odd characters": signed_in | {"x-csrf-token": "\xff\xfe"},
    }


def forms(home: House) -> dict[str, tuple[dict[str, str], bytes]]:
    """Bodies, for a browser that is signed in, as its own pages or foreign ones could send them."""
    session = home.session("boss")
    right, signed_in = home.csrf(session), home.cookie(session) | OWN
    form, field = {"content-type": FORM}, f"csrf={right}".encode()
    multipart = f'--x\r\nContent-Disposition: form-data; name="csrf"\r\n\r\n{right}\r\n--x--\r\n'.encode()
    return {
        "a foreign form": (signed_in | FOREIGN | form, field),
        "a foreign form without Origin": (home.cookie(session) | form, field),
        "a form without the field": (signed_in | form, b"gate=QG-1"),
        "a form with the field twice": (signed_in | form, field + b"&" + field),
        "a form with a wrong field": (signed_in | form, b"csrf=" + right[:-1].encode() + b"-"),
        "a form as text": (signed_in | {"content-type": "text/plain"}, field),
        "a form in parts": (signed_in | {"content-type": "multipart/form-data; boundary=x"}, multipart),
        "a form that is too long": (signed_in | form, b"a=" + b"x" * 300_000 + b"&" + field),
        "a form that never says what it is": (signed_in, field),
    }


async def test_each_route_that_changes_something_refuses_each_bad_request(home: House) -> None:
    client, database = home.client(), home.orchestrator.database
    await client.get("/status", headers=BEARER)
    before, asked = database.read_now(dump), 0
    for method, path in walked(home):
        for what, headers in cases(home).items():
            if path == "/sign-in" and what not in {"wrong Host", "wrong Origin", "a neighbour's page"}:
                continue  # everybody may try, with a form token of its own: test_signin has that
            if path == "/sign-out" and what == "wrong scope":
                continue  # whoever is signed in may sign out
            sent = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
            answer = await client.request(method, path, headers=sent)
            assert answer.status_code in {401, 403}, (method, path, what, answer.status_code)
            assert answer.headers["content-type"] == "application/problem+json"
            asked += 1
        for what, (headers, body) in forms(home).items():
            answer = await client.request(method, path, headers=headers, content=body)
            assert answer.status_code == 403, (method, path, what, answer.status_code)
            asked += 1
    counted.said(f"{asked} requests to {len(walked(home))} routes were refused")
    assert database.read_now(dump) == before


async def test_a_browser_that_nobody_knows_is_sent_to_sign_in_and_nothing_happens(home: House) -> None:
    client, database = home.client(), home.orchestrator.database
    before = database.read_now(dump)
    for method, path in walked(home):
        if path not in OPEN and not path.startswith("/api/"):
            answer = await client.request(method, path, headers=BROWSER | OWN)
            assert (answer.status_code, answer.headers["location"]) == (303, "/orchestrator/sign-in"), path
    assert database.read_now(dump) == before


async def test_with_everything_right_each_route_is_reached(home: House) -> None:
    """Else the refusals above would prove nothing."""
    for method, path in walked(home):
        session = home.session("root" if path.startswith(ADMINS) else "boss")
        right = home.cookie(session) | OWN | {"content-type": FORM}
        body = f"csrf={home.csrf(session)}&gate=QG-1".encode()
        in_header = home.cookie(session) | OWN | {"x-csrf-token": home.csrf(session)}
        for headers, content in ((right, body), (in_header, b""), (BEARER, b"")):
            if path == "/sign-out" and headers is not right:
                continue
            answer = await home.client().request(method, path, headers=headers, content=content)
            assert path in OPEN or answer.status_code not in {401, 403}, (method, path, answer.text)


async def test_what_was_read_to_judge_a_form_is_there_for_the_app(home: House) -> None:
    session = home.session("boss")
    headers = home.cookie(session) | OWN | {"content-type": FORM}
    body = f"csrf={home.csrf(session)}&repository=a/b&role=analyst&task=x".encode()
    answer = await home.client().post("/api/v1/tasks", headers=headers, content=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["where"] == "body", "the app got the form, which is no JSON"


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "127.0.0.1.evil.example:8500"},
        {"host": "evil.example"},
        {"host": ""},
        {"x-forwarded-for": "1.2.3.4"},
        {"x-real-ip": "127.0.0.1"},
        {"forwarded": "for=127.0.0.1"},
    ],
)
async def test_without_any_sign_in_only_unforwarded_loopback_is_answered(
    tmp_path: Path, headers: dict[str, str]
) -> None:
    async with house(tmp_path, **ALONE) as home:
        for method, path in [("GET", "/status"), ("GET", "/"), ("GET", "/sign-in"), *walked(home)]:
            near, far = home.client("127.0.0.1"), home.client("10.0.0.9")
            assert (await near.request(method, path, headers=headers)).status_code == 403, path
            assert (await far.request(method, path)).status_code == 403, path
        assert (await home.client("127.0.0.1").get("/status")).status_code == 200
        assert (await home.client("10.0.0.9").get("/health")).status_code == 200


def near(csrf: str) -> dict[str, dict[str, str]]:
    """A browser on this machine, where it is let in as it is."""
    right = {"origin": "http://localhost", "sec-fetch-site": "same-origin", "x-csrf-token": csrf}
    return {
        "no CSRF token": {"origin": "http://localhost"},
        "a wrong CSRF token": right | {"x-csrf-token": csrf[::-1]},
        "a foreign page": right | FOREIGN,
        "another port": right | {"origin": "http://localhost:3000"},
        "another site here": right | {"sec-fetch-site": "same-site"},
        "rebound": right | {"host": "evil.example", "origin": "http://evil.example"},
        "a form of a foreign page": {"referer": "http://evil.example/"},
        "no Origin": {"sec-fetch-site": "same-origin", "x-csrf-token": csrf},
        "no page at all": {"origin": "null", "x-csrf-token": csrf},
    }


async def test_without_any_sign_in_a_browser_here_changes_something_by_our_pages_only(tmp_path: Path) -> None:
    async with house(tmp_path, **ALONE) as home:
        client = home.client("127.0.0.1")
        csrf = home.identity.sessions.csrf("this machine")
        before = home.orchestrator.database.read_now(dump)
        for method, path in walked(home):
            for what, headers in near(csrf).items():
                if path != "/sign-in" or "Origin" not in what:
                    answer = await client.request(method, path, headers=headers)
                    assert answer.status_code == 403, (method, path, what)
        assert home.orchestrator.database.read_now(dump) == before
        ours = {"origin": "http://localhost", "sec-fetch-site": "same-origin", "content-type": FORM}
        done = await client.post("/api/v1/pause", headers=ours, content=f"csrf={csrf}".encode())
        assert done.status_code == 202
        assert (await client.post("/api/v1/resume")).status_code == 202, "a program needs no token here"


async def test_a_page_that_only_reads_is_not_asked_where_it_comes_from(home: House) -> None:
    headers = home.cookie(home.session("reader"))
    for site in ("cross-site", "none", "same-origin"):
        answer = await home.client().get("/status", headers=headers | {"sec-fetch-site": site})
        assert answer.status_code == 200


async def test_nobody_learns_more_than_that_they_must_sign_in(home: House) -> None:
    shown = {"/openapi.json", "/status", "/ready", "/", "/api/v1/tasks/X", "/tasks/X", "/nothing", "/metrics"}
    for path in sorted(shown):
        assert (await home.client().get(path)).status_code == 401, path
        assert (await home.client().get(path, headers={"accept": "application/json"})).status_code == 401, path
    assert (await home.client().get("/static/orchestrator.css")).status_code == 200
    for path in (
        "/api/v1/tasks/static/explain",
        "/api/v1/tasks/sign-in",
        "/tasks/static/",
        "/sign-in/gitea/status",
    ):
        assert (await home.client().get(path)).status_code == 401, path
    for path in ("/api/v1/tasks/static/cancel", "/actions/tokens/static/revoke", "/static/orchestrator.css"):
        assert (await home.client().post(path)).status_code == 401, path
    for path in ("/static/../status", "/static/%2e%2e/status", "//status", "/sign-in/../status", "/sign-in/x"):
        assert (await home.client().get(path)).status_code in {401, 404}, path


@pytest.mark.parametrize("path", ["/tokens", "/tokens/x", "/actions/tokens", "/api/v1/tokens", "/api/v1/tokens/x"])
async def test_what_concerns_tokens_is_for_admins_only(home: House, path: str) -> None:
    for who in ("reader", "boss"):
        assert (await home.client().get(path, headers=home.cookie(home.session(who)))).status_code == 403
    there = await home.client().get(path, headers=home.cookie(home.session("root")))
    assert there.status_code == (200 if path == "/tokens" else 404)


async def test_an_admin_sees_tokens_and_revokes_one_and_nobody_else_does(home: House) -> None:
    token, client = await home.token("ci <b>", "operate"), home.client()
    root, boss = home.session("root"), home.session("boss")
    page = await client.get("/tokens", headers=home.cookie(root))
    assert "ci &lt;b&gt;" in page.text
    assert "<b>" not in page.text
    assert token not in page.text
    path = page.text.partition('action="/orchestrator/actions/tokens/')[2].partition('"')[0]
    for who, status in ((boss, 403), (root, 303)):
        headers = home.cookie(who) | OWN | {"content-type": FORM}
        body = f"csrf={home.csrf(who)}".encode()
        assert (await client.post(f"/actions/tokens/{path}", headers=headers, content=body)).status_code == status
    assert (await client.get("/status", headers={"authorization": f"Bearer {token}"})).status_code == 401

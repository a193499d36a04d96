"""Signing in: with a token in a form, and with a simulated Gitea over real HTTP, which checks PKCE itself."""

import base64
import hashlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import httpx
import pytest

import warm
from conftest import FakeClock
from doors import API_TOKEN, ORIGIN, PUBLIC_URL, House, house
from orchestrator.domain.model import Person, UserId
from orchestrator.sim.gitea import GiteaSim
from orchestrator.sim.gitea_oauth import Application
from orchestrator.sim.server import LoopbackServer
from orchestrator.sim.webhook import TRUSTS_NOBODY
from orchestrator.sim.world import APPROVER, Service, World
from orchestrator.web.signin.attempts import MAX_ADDRESSES, OF_ALL, OF_ONE, Attempts, address_of
from orchestrator.web.signin.local import local

SESSION = "__Secure-orch_session"
FLOW = "__Secure-orch_flow"


@dataclass(slots=True)
class Forge:
    """A simulated Gitea that people sign in with."""

    sim: GiteaSim
    server: LoopbackServer
    application: Application

    @property
    def url(self) -> str:
        return self.server.url

    def settings(self) -> dict[str, str]:
        return {
            "ORCH_GITEA_URL": self.url,
            "ORCH_GITEA_PUBLIC_URL": self.url,
            "ORCH_GITEA_OAUTH_CLIENT_ID": self.application.client_id,
            "ORCH_GITEA_OAUTH_CLIENT_SECRET": self.application.secret,
        }

    def granted(self, address: str, login: str, button: str = "true") -> str:
        """What a person's browser does there; returns where it is sent back to."""
        with httpx.Client(base_url=self.url, verify=TRUSTS_NOBODY, trust_env=False) as browser:
            page = browser.get(address)
            assert page.status_code == 303, page.text
            at_login = page.headers["location"]
            assert at_login.startswith("/user/login")
            back = browser.post(at_login, data={"user_name": login})
            page = browser.get(back.headers["location"])
            if page.status_code == 303:
                return page.headers["location"]
            asked = dict(parse_qsl(urlsplit(address).query))
            return browser.post("/login/oauth/grant", data=asked | {"granted": button}).headers["location"]


@pytest.fixture
def forge(tmp_path: Path) -> Iterator[Forge]:
    with GiteaSim(tmp_path / "forge") as sim, LoopbackServer(sim.app) as server:
        for login in ("reader", "boss", "root", "stranger"):
            sim.add_user(login)
        yield Forge(sim, server, sim.oauth.add(f"{PUBLIC_URL}/sign-in/callback"))


@pytest.fixture
async def home(tmp_path: Path, forge: Forge) -> AsyncIterator[House]:
    async with house(tmp_path, **forge.settings()) as one:
        yield one


def set_cookies(answer: httpx.Response) -> dict[str, str]:
    found = dict[str, str]()
    for line in answer.headers.get_list("set-cookie"):
        name, _, rest = line.partition("=")
        found[name] = rest.partition(";")[0]
    return found


async def left(home: House, after: str = "") -> tuple[str, dict[str, str]]:
    """Where the browser is sent, and the cookie that it keeps meanwhile."""
    answer = await home.client().get("/sign-in/gitea", params={"next": after} if after else {})
    assert answer.status_code == 303
    return answer.headers["location"], {"cookie": f"{FLOW}={set_cookies(answer)[FLOW]}"}


def callback(address: str) -> str:
    """As the browser asks for it: what Gitea sends to is our public address."""
    assert address.startswith(f"{PUBLIC_URL}/sign-in/callback?")
    return f"/sign-in/callback?{urlsplit(address).query}"


async def entered(home: House, forge: Forge, login: str, after: str = "") -> httpx.Response:
    address, cookie = await left(home, after)
    return await home.client().get(callback(forge.granted(address, login)), headers=cookie)


# -- Gitea


async def test_a_person_signs_in_with_gitea_and_lands_where_they_wanted_to_go(home: House, forge: Forge) -> None:
    answer = await entered(home, forge, "boss", "/tasks/ENDURO-1?tab=runs")
    assert (answer.status_code, answer.headers["location"]) == (303, "/orchestrator/tasks/ENDURO-1?tab=runs")
    cookies = set_cookies(answer)
    assert cookies[FLOW] == "", "good once"
    signed = {"cookie": f"{SESSION}={cookies[SESSION]}"}
    assert (await home.client().get("/status", headers=signed)).status_code == 200
    session = home.identity.sessions.opened(cookies[SESSION])
    assert session is not None
    csrf = {"x-csrf-token": home.csrf(session), "origin": ORIGIN}
    assert (await home.client().post("/api/v1/pause", headers=signed | csrf)).status_code == 202


async def test_gitea_is_asked_for_no_more_than_who_it_is(home: House, forge: Forge) -> None:
    address, _ = await left(home)
    asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
    assert address.startswith(f"{forge.url}/login/oauth/authorize?")
    assert (asked["scope"], asked["response_type"]) == ("read:user", "code")
    assert (asked["code_challenge_method"], len(asked["code_challenge"])) == ("S256", 43)
    assert asked["redirect_uri"] == f"{PUBLIC_URL}/sign-in/callback"
    await entered(home, forge, "boss")
    assert {one.scopes for one in forge.sim.tokens.values()} == {frozenset({"read:user"})}


async def test_browsers_and_the_server_each_have_their_own_address(tmp_path: Path, forge: Forge) -> None:
    """Browsers would not find the address by which containers find each other, nor we always theirs."""
    settings = forge.settings() | {"ORCH_GITEA_PUBLIC_URL": "https://git.example.test/gitea"}
    async with house(tmp_path, **settings) as home:
        address, cookie = await left(home)
        assert address.startswith("https://git.example.test/gitea/login/oauth/authorize?")
        there = address.replace("https://git.example.test/gitea", forge.url)
        answer = await home.client().get(callback(forge.granted(there, "boss")), headers=cookie)
        assert SESSION in set_cookies(answer)


async def test_the_verifier_is_in_no_address_and_no_cookie(home: House, forge: Forge) -> None:
    address, cookie = await left(home)
    asked = parse_qs(urlsplit(address).query)
    challenge, state = asked["code_challenge"][0], asked["state"][0]
    verifier = home.identity.sessions.derived("verifier", state)
    made = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    assert made == challenge
    sealed = cookie["cookie"].partition("=")[2].partition(".")[0]
    kept = base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
    assert verifier not in f"{address}{cookie}{kept!r}"


async def test_each_start_has_a_state_of_its_own(home: House) -> None:
    states = {parse_qs(urlsplit((await left(home))[0]).query)["state"][0] for _ in range(20)}
    assert len(states) == 20
    assert all(len(one) >= 32 for one in states)


async def test_a_code_is_good_for_the_browser_that_asked_for_it_alone(home: House, forge: Forge) -> None:
    """Somebody has a code of their own put into a victim's browser, with the victim's state: PKCE refuses it."""
    theirs, _ = await left(home)
    stolen = parse_qs(urlsplit(forge.granted(theirs, "root")).query)["code"][0]
    address, cookie = await left(home)
    state = parse_qs(urlsplit(address).query)["state"][0]
    query = urlencode({"code": stolen, "state": state})
    answer = await home.client().get(f"/sign-in/callback?{query}", headers=cookie)
    assert answer.status_code == 502
    assert SESSION not in set_cookies(answer)
    assert stolen in forge.sim.oauth.codes, "it was refused for its verifier, and is still good for its owner"


async def test_a_state_that_is_not_the_browsers_is_refused_before_gitea_is_asked(
    home: House, forge: Forge
) -> None:
    address, cookie = await left(home)
    back = callback(forge.granted(address, "boss"))
    _, other = await left(home)
    state = parse_qs(urlsplit(back).query)["state"][0]
    calls = len(forge.sim.calls)
    for asked, headers in (
        (back, {}),
        (back, other),
        (back.replace(state, ""), cookie),
        (back.replace(state, state[:-1]), cookie),
        (back.replace(state, "ключ"), cookie),
        (back.replace(f"&state={state}", ""), cookie),
        (back, {"cookie": cookie["cookie"][:-3] + "abc"}),
        (back, {"cookie": cookie["cookie"].replace(FLOW, "orch_flow")}),
    ):
        answer = await home.client().get(asked, headers=headers)
        assert (answer.status_code, SESSION in set_cookies(answer)) == (403, False), asked
    assert len(forge.sim.calls) == calls
    assert SESSION in set_cookies(await home.client().get(back, headers=cookie)), "the right one still opens"


async def test_a_callback_that_is_sent_again_opens_nothing(home: House, forge: Forge) -> None:
    address, cookie = await left(home)
    back = callback(forge.granted(address, "boss"))
    assert SESSION in set_cookies(await home.client().get(back, headers=cookie))
    again = await home.client().get(back, headers=cookie)
    assert (again.status_code, SESSION in set_cookies(again)) == (502, False)


async def test_a_sign_in_that_took_too_long_is_begun_anew(home: House, forge: Forge) -> None:
    address, cookie = await left(home)
    back = callback(forge.granted(address, "boss"))
    home.clock.advance(601)
    answer = await home.client().get(back, headers=cookie)
    assert (answer.status_code, SESSION in set_cookies(answer)) == (403, False)


async def test_who_is_not_among_the_people_is_told_so_and_has_no_session(home: House, forge: Forge) -> None:
    answer = await entered(home, forge, "stranger")
    assert (answer.status_code, SESSION in set_cookies(answer)) == (403, False)
    assert "orchestrator.yaml" in answer.text


async def test_everyone_may_look_when_the_setting_says_so(tmp_path: Path, forge: Forge) -> None:
    async with house(tmp_path, **forge.settings(), ORCH_SIGN_IN_FOR="everyone") as home:
        signed = {"cookie": f"{SESSION}={set_cookies(await entered(home, forge, 'stranger'))[SESSION]}"}
        assert (await home.client().get("/status", headers=signed)).status_code == 200


async def test_a_person_who_says_no_in_gitea_is_not_asked_why(home: House, forge: Forge) -> None:
    address, cookie = await left(home)
    answer = await home.client().get(callback(forge.granted(address, "boss", button="false")), headers=cookie)
    assert (answer.status_code, SESSION in set_cookies(answer)) == (403, False)
    assert "told not to" in answer.text


@pytest.mark.parametrize("fault", ["down", "secret", "gone"])
async def test_when_gitea_does_not_help_nobody_is_let_in_and_no_secret_is_shown(
    tmp_path: Path, forge: Forge, fault: str, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = forge.settings() | ({"ORCH_GITEA_OAUTH_CLIENT_SECRET": "wrong-secret"} if fault == "secret" else {})
    async with house(tmp_path, **settings) as home:
        address, cookie = await left(home)
        back = callback(forge.granted(address, "boss"))
        if fault == "down":
            forge.sim.down = True
        elif fault == "gone":
            forge.server.stop()
        answer = await home.client().get(back, headers=cookie)
        assert (answer.status_code, SESSION in set_cookies(answer)) == (502, False)
        said = "".join(capfd.readouterr())
        code = parse_qs(urlsplit(back).query)["code"][0]
        assert "sign_in_failed" in said
        for hidden in (settings["ORCH_GITEA_OAUTH_CLIENT_SECRET"], code):
            assert hidden not in said
            assert hidden not in answer.text


async def test_without_an_application_there_is_no_way_to_gitea(tmp_path: Path) -> None:
    off = {"ORCH_GITEA_OAUTH_CLIENT_ID": "", "ORCH_GITEA_OAUTH_CLIENT_SECRET": ""}
    async with house(tmp_path, **off) as home:
        page = await home.client().get("/sign-in")
        assert "/sign-in/gitea" not in page.text
        assert (await home.client().get("/sign-in/gitea")).status_code == 404
        assert (await home.client().get("/sign-in/callback?code=x&state=y")).status_code == 403


# -- the form


async def form_of(client: httpx.AsyncClient, after: str = "/") -> dict[str, str]:
    page = await client.get("/sign-in", params={"next": after})
    csrf = page.text.partition('name="csrf" value="')[2].partition('"')[0]
    return {"csrf": csrf, "next": after}


async def test_a_token_in_the_form_begins_a_session_with_its_scope(home: House) -> None:
    client = home.client(origin=ORIGIN)
    answer = await client.post("/sign-in", data=await form_of(client, "/journal") | {"token": f" {API_TOKEN}\n"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/orchestrator/journal")
    assert (await client.get("/status")).status_code == 200
    assert API_TOKEN not in str(answer.headers)
    reader = home.client(origin=ORIGIN)
    await reader.post("/sign-in", data=await form_of(reader) | {"token": await home.token("tv", "read")})
    assert (await reader.get("/status")).status_code == 200
    assert (await reader.post("/api/v1/pause")).status_code == 403


@pytest.mark.parametrize("token", ["", "wrong", "orch_wrong", "ключ", "x" * 100_000])
async def test_a_wrong_token_begins_none_and_is_not_shown_again(home: House, token: str) -> None:
    client = home.client(origin=ORIGIN)
    answer = await client.post("/sign-in", data=await form_of(client) | {"token": token})
    assert (answer.status_code, SESSION in set_cookies(answer)) == (403, False)
    assert not token or f'value="{token}"' not in answer.text


async def test_the_form_is_taken_from_our_page_alone(home: House) -> None:
    """Else a page could sign its reader in as somebody else, and have them work under that name."""
    client = home.client()
    form = await form_of(client) | {"token": API_TOKEN}
    for headers in ({"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}):
        assert (await client.post("/sign-in", data=form, headers=headers)).status_code == 403
    for changed in (form | {"csrf": ""}, form | {"csrf": form["csrf"][::-1]}, {"token": API_TOKEN}):
        answer = await client.post("/sign-in", data=changed, headers={"origin": ORIGIN})
        assert (answer.status_code, SESSION in set_cookies(answer)) == (403, False)
    other = home.client()
    answer = await other.post("/sign-in", data=form, headers={"origin": ORIGIN})
    assert (answer.status_code, SESSION in set_cookies(answer)) == (403, False), "another browser's form"
    home.clock.advance(601)
    assert (await client.post("/sign-in", data=form, headers={"origin": ORIGIN})).status_code == 403


@pytest.mark.parametrize(("language", "said"), [("en", "Sign in with Gitea"), ("ru", "Войти через Gitea")])
async def test_the_page_works_without_scripts_in_both_languages(home: House, language: str, said: str) -> None:
    page = await home.client(accept_language=language).get("/sign-in", params={"next": "/tasks/A-1"})
    assert said in page.text
    assert 'href="/orchestrator/sign-in/gitea?next=/tasks/A-1"' in page.text
    assert 'action="/orchestrator/sign-in"' in page.text
    assert "/journal" not in page.text, "nothing is shown of what they may not see yet"


# -- where to


AWAY = [
    "https://evil.example/",
    "//evil.example/",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "\t//evil.example",
    " //evil.example",
    "javascript:alert(1)",
    "http:evil.example",
    "evil.example",
    "/\u2028/evil.example",
    "/%0d%0aset-cookie:x\r\nset-cookie: y",
    "/ok#\x00",
    "/" + "x" * 5000,
    "",
    "/sign-out",
    "/sign-in?next=/sign-in",
    "/actions/pause",
]


@pytest.mark.parametrize("after", AWAY)
async def test_signing_in_leads_to_no_other_place(home: House, forge: Forge, after: str) -> None:
    assert local(after) == "/"
    answer = await entered(home, forge, "boss", after)
    assert (answer.status_code, answer.headers["location"]) == (303, "/orchestrator/")
    client = home.client(origin=ORIGIN)
    form = await form_of(client)
    answer = await client.post("/sign-in", data=form | {"token": API_TOKEN, "next": after})
    assert (answer.status_code, answer.headers["location"]) == (303, "/orchestrator/")


@pytest.mark.parametrize("after", ["/", "/tasks/ENDURO-1", "/journal?q=a%20b&type=push", "/runs/1?at=2", "/a//b"])
def test_pages_of_ours_are_where_one_may_go(after: str) -> None:
    assert local(after) == after


@pytest.mark.parametrize(
    ("asked", "where"),
    [
        ("/", "/orchestrator/sign-in"),
        ("/tasks/ENDURO-1", "/orchestrator/sign-in?next=%2Ftasks%2FENDURO-1"),
        ("/orchestrator/journal?q=a%20b", "/orchestrator/sign-in?next=%2Fjournal%3Fq%3Da%2520b"),
        ("/%5Cevil.example", "/orchestrator/sign-in?next=%2F%255Cevil.example"),
    ],
)
async def test_who_must_sign_in_first_comes_back_to_what_they_asked_for(
    home: House, asked: str, where: str
) -> None:
    base = PUBLIC_URL.removesuffix("/orchestrator")
    answer = await home.client(base_url=base, accept="text/html").get(asked)
    assert (answer.status_code, answer.headers["location"]) == (303, where)


async def test_a_part_that_a_script_asked_for_sends_the_whole_page_to_sign_in(home: House) -> None:
    headers = {"hx-request": "true", "hx-current-url": f"{PUBLIC_URL}/tasks/A-1", "accept": "text/html, */*"}
    answer = await home.client().get("/live/board", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["hx-redirect"] == "/orchestrator/sign-in?next=%2Ftasks%2FA-1"


# -- how often


def scope(peer: str, real_ip: str = "") -> dict[str, object]:
    return {"client": (peer, 1), "headers": [(b"x-real-ip", real_ip.encode())] if real_ip else []}


def test_one_address_has_a_few_tries_and_then_one_now_and_then(clock: FakeClock) -> None:
    attempts = Attempts(clock)
    assert [attempts.wait_s(scope("192.0.2.1")) for _ in range(OF_ONE.at_once)] == [0] * OF_ONE.at_once
    assert attempts.wait_s(scope("192.0.2.1")) == OF_ONE.each_s
    assert attempts.wait_s(scope("192.0.2.2")) == 0, "another address is not held up"
    clock.advance(OF_ONE.each_s - 1)
    assert attempts.wait_s(scope("192.0.2.1")) == 1
    clock.advance(1)
    assert attempts.wait_s(scope("192.0.2.1")) == 0
    assert attempts.wait_s(scope("192.0.2.1")) == OF_ONE.each_s
    clock.advance(1e6)
    assert [attempts.wait_s(scope("192.0.2.1")) for _ in range(OF_ONE.at_once + 1)].count(0) == OF_ONE.at_once


def test_all_together_meet_a_limit_and_are_remembered_in_bounds(clock: FakeClock) -> None:
    attempts = Attempts(clock)
    tried = [attempts.wait_s(scope(f"192.0.2.{n % 250}", "")) for n in range(OF_ALL.at_once + 1)]
    assert tried.count(0) == OF_ALL.at_once
    assert tried[-1] == 1
    for n in range(3 * MAX_ADDRESSES):
        attempts.wait_s(scope(f"2001:db8::{n:x}"))
    assert len(attempts._addresses) == MAX_ADDRESSES


def test_a_proxy_near_us_says_who_asks_and_a_stranger_cannot() -> None:
    assert address_of(scope("127.0.0.1", "203.0.113.7")) == "203.0.113.7"
    assert address_of(scope("172.18.0.2", "203.0.113.7")) == "203.0.113.7"
    assert address_of(scope("8.8.8.8", "203.0.113.7")) == "8.8.8.8"
    assert address_of(scope("127.0.0.1")) == "127.0.0.1"
    assert len(address_of(scope("127.0.0.1", "x" * 1000))) == 64
    assert address_of({"headers": []}) == ""


async def test_too_many_tries_are_told_when_to_come_back(home: House) -> None:
    client = home.client(origin=ORIGIN)
    form = await form_of(client)
    for _ in range(OF_ONE.at_once):
        assert (await client.post("/sign-in", data=form | {"token": "wrong"})).status_code == 403
    answer = await client.post("/sign-in", data=form | {"token": API_TOKEN})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "30")
    assert (await client.get("/sign-in/callback?code=x&state=y")).status_code == 429
    assert (await client.get("/status", headers={"authorization": f"Bearer {API_TOKEN}"})).status_code == 200
    home.clock.advance(30)
    assert (await client.post("/sign-in", data=form | {"token": API_TOKEN})).status_code == 303


# -- a real service


def test_a_person_signs_in_to_a_real_service_stops_everything_and_signs_out(
    tmp_path: Path, scripted: Path
) -> None:
    people = (Person(UserId(APPROVER), "boss", approver=True),)
    with World(tmp_path / "world", Path(__file__).parents[1] / "fixtures", people=people) as world:
        environ = world.settings(scripted) | world.sign_in()
        with (
            Service(world.root, environ, starter=warm.started) as service,
            httpx.Client(verify=TRUSTS_NOBODY, trust_env=False, follow_redirects=True) as browser,
        ):
            page = browser.get(service.url, headers={"accept": "text/html"})
            assert page.url.path == "/sign-in"
            page = browser.get(f"{service.url}/sign-in/gitea")
            page = browser.post(page.url, data={"user_name": "boss"})
            asked = dict(parse_qsl(page.url.query.decode()))
            page = browser.post(f"{world.gitea_url}/login/oauth/grant", data=asked | {"granted": "true"})
            assert (page.status_code, str(page.url)) == (200, f"{service.url}/")
            csrf = page.text.partition('name="csrf" value="')[2].partition('"')[0]
            ours = {"origin": service.url}
            assert browser.post(f"{service.url}/api/v1/pause", headers=ours).status_code == 403
            done = browser.post(f"{service.url}/api/v1/pause", data={"csrf": csrf}, headers=ours)
            assert done.json() == {"status": "paused"}
            page = browser.post(f"{service.url}/sign-out", data={"csrf": csrf}, headers=ours)
            assert page.url.path == "/sign-in"
            assert browser.get(f"{service.url}/status").status_code == 401

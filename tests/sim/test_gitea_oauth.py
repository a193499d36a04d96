"""The simulated Gitea's OAuth2 server refuses what the real one refuses, in its words (oauth2_provider.go)."""

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from conftest import FakeClock
from orchestrator.sim.gitea import GiteaSim
from orchestrator.sim.gitea_oauth import Application
from orchestrator.sim.server import LoopbackServer
from orchestrator.sim.webhook import TRUSTS_NOBODY

BACK = "https://orch.example/sign-in/callback"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


@pytest.fixture
def sim(tmp_path: Path, clock: FakeClock) -> Iterator[GiteaSim]:
    with GiteaSim(tmp_path / "forge", now=clock.now) as one:
        one.add_user("alice")
        yield one


@pytest.fixture
def client(sim: GiteaSim) -> Iterator[httpx.Client]:
    with (
        LoopbackServer(sim.app) as server,
        httpx.Client(base_url=server.url, verify=TRUSTS_NOBODY, trust_env=False) as one,
    ):
        yield one


@pytest.fixture
def application(sim: GiteaSim) -> Application:
    return sim.oauth.add(BACK)


def asked(application: Application, **other: str) -> dict[str, str]:
    return {
        "client_id": application.client_id,
        "redirect_uri": BACK,
        "response_type": "code",
        "scope": "read:user",
        "state": "s",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    } | other


def granted(client: httpx.Client, application: Application) -> dict[str, str]:
    """The request for a token that is right."""
    client.post("/user/login", data={"user_name": "alice"})
    back = client.post("/login/oauth/grant", data=asked(application) | {"granted": "true"})
    said = parse_qs(urlsplit(back.headers["location"]).query)
    assert said["state"] == ["s"]
    return {
        "grant_type": "authorization_code",
        "client_id": application.client_id,
        "client_secret": application.secret,
        "code": said["code"][0],
        "redirect_uri": BACK,
        "code_verifier": VERIFIER,
    }


def test_a_code_is_good_once_and_its_token_for_what_was_asked(
    sim: GiteaSim, client: httpx.Client, application: Application
) -> None:
    order = granted(client, application)
    token = client.post("/login/oauth/access_token", data=order).json()["access_token"]
    mine = {"Authorization": f"Bearer {token}"}
    assert client.get("/api/v1/user", headers=mine).json()["login"] == "alice"
    sim.create_repo("alice", "hers", {"a": "b"})
    assert client.get("/api/v1/repos/alice/hers", headers=mine).status_code == 403
    again = client.post("/login/oauth/access_token", data=order)
    assert (again.status_code, again.json()["error"]) == (400, "unauthorized_client")


@pytest.mark.parametrize(
    ("field", "wrong", "said"),
    [
        ("code_verifier", "", "failed PKCE code challenge"),
        ("code_verifier", CHALLENGE, "failed PKCE code challenge"),
        ("code", "gta_other", "client is not authorized"),
        ("client_secret", "gto_other", "invalid client secret"),
        ("client_id", "other", "cannot load client"),
        ("redirect_uri", "https://evil.example/", "redirect_uri differs from the original authorization request"),
        ("grant_type", "password", "Only refresh_token or authorization_code grant type is supported"),
    ],
)
def test_each_wrong_part_of_a_request_is_refused(
    client: httpx.Client, application: Application, field: str, wrong: str, said: str
) -> None:
    order = granted(client, application)
    answer = client.post("/login/oauth/access_token", data=order | {field: wrong})
    assert (answer.status_code, answer.json()["error_description"]) == (400, said)
    assert client.post("/login/oauth/access_token", data=order).status_code == 200, (
        "and the right one is still good"
    )


def test_a_code_is_over_after_ten_minutes(
    client: httpx.Client, application: Application, clock: FakeClock
) -> None:
    order = granted(client, application)
    clock.advance(601)
    answer = client.post("/login/oauth/access_token", data=order)
    assert answer.json()["error"] == "invalid_grant"


def test_nobody_is_sent_to_an_address_that_is_not_registered(
    client: httpx.Client, application: Application
) -> None:
    client.post("/user/login", data={"user_name": "alice"})
    for wrong in (
        {"redirect_uri": "https://evil.example/"},
        {"redirect_uri": f"{BACK}/x"},
        {"client_id": "other"},
    ):
        assert client.get("/login/oauth/authorize", params=asked(application, **wrong)).status_code == 400
        sent = asked(application, **wrong) | {"granted": "true"}
        assert client.post("/login/oauth/grant", data=sent).status_code == 400
    page = client.get("/login/oauth/authorize", params=asked(application, response_type="token"))
    assert "error=unsupported_response_type" in page.headers["location"]


def test_who_has_granted_once_is_not_asked_again(client: httpx.Client, application: Application) -> None:
    assert (
        client.get("/login/oauth/authorize", params=asked(application))
        .headers["location"]
        .startswith("/user/login")
    )
    granted(client, application)
    assert "code=gta_" in client.get("/login/oauth/authorize", params=asked(application)).headers["location"]

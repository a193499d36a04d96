"""Sign-in with Gitea or Forgejo: OAuth2, authorization code with PKCE (S256).

Browsers are sent to the public address; the code is exchanged, and the login asked for, at the address by which we
reach the server. Of the user's token nothing is kept: it says once who they are.
"""

import base64
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from orchestrator.domain.errors import Permanent
from orchestrator.rest import RestClient, System
from orchestrator.wire import Form

T = TypeVar("T")
AUTHORIZE: Final = "login/oauth/authorize"
TOKEN: Final = "login/oauth/access_token"  # noqa: S105 - a path
USER: Final = "api/v1/user"
SCOPE: Final = "read:user"
"""The least that tells the login. Gitea since 1.23 then gives the token no more; with the usual `openid` alone it
would be given everything (go-gitea/gitea#32573)."""
MAX_ANSWER_BYTES: Final = 64 * 1024
_SYSTEM: Final = System(
    "gitea_sign_in",
    "Gitea",
    "ORCH_GITEA_URL",
    "Check ORCH_GITEA_OAUTH_CLIENT_ID, ORCH_GITEA_OAUTH_CLIENT_SECRET and the redirect URI that Gitea has.",
)


class _Granted(msgspec.Struct):
    access_token: str
    token_type: str = "bearer"  # noqa: S105 - a word


class _User(msgspec.Struct):
    login: str


@dataclass(frozen=True, slots=True)
class GiteaSignIn:
    """`redirect_uri` is ours, and stands in the application in Gitea letter by letter."""

    client_id: str
    client_secret: str
    browser_url: str
    server_url: str
    redirect_uri: str
    timeout_s: float = 15.0

    def address(self, state: str, verifier: str) -> str:
        """Where the browser is sent."""
        return str(
            prepare_grant_uri(
                f"{self.browser_url}/{AUTHORIZE}",
                self.client_id,
                "code",
                redirect_uri=self.redirect_uri,
                scope=SCOPE,
                state=state,
                code_challenge=create_s256_code_challenge(verifier),
                code_challenge_method="S256",
            )
        )

    async def login(self, code: str, verifier: str) -> str:
        """Whose code it is. Raises Permanent when Gitea does not take it, Transient when it cannot be reached."""
        order = prepare_token_request(
            "authorization_code", redirect_uri=self.redirect_uri, code=code, code_verifier=verifier
        )
        granted = await self._asked("POST", TOKEN, self._as_client(), Form(order), _Granted)
        user = await self._asked("GET", USER, f"Bearer {granted.access_token}", None, _User)
        if not user.login:
            raise Permanent("gitea_sign_in_nobody", "Gitea did not say who signed in.")
        return user.login

    def _as_client(self) -> str:
        both = f"{self.client_id}:{self.client_secret}".encode()
        return f"Basic {base64.b64encode(both).decode()}"

    async def _asked(self, method: str, path: str, as_whom: str, order: Form | None, wanted: type[T]) -> T:
        """A connection for each call: sign-ins are rare, and its headers are one person's."""
        headers = {"Authorization": as_whom, "Accept": "application/json"}
        client = RestClient(_SYSTEM, f"{self.server_url}/", headers, self.timeout_s)
        try:
            answer = await client.call(method, path, order=order, enough_bytes=MAX_ANSWER_BYTES)
            return client.decoded(answer.body, wanted)
        finally:
            await client.aclose()

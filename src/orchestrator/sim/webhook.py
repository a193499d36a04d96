"""Webhook deliveries as the real servers send them: signed bytes, exact headers, one courier per server."""

import hmac
import json
import queue
import ssl
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

MAX_DELIVERIES_KEPT = 1_000
MAX_QUEUED = 10_000
SETTLE_TIMEOUT_S = 30.0
RECORDED_TIMEOUT_S = 30.0
TRUSTS_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients on loopback, which speak plain HTTP: to read whom this machine trusts costs more than a delivery."""


def hmac_hex(secret: str, body: bytes, digest: str = "sha256") -> str:
    """Lower-case hex over the raw bytes; the whole secret string is the key."""
    return hmac.new(secret.encode(), body, digest).hexdigest()


def plane_headers(event: str, delivery_id: str, secret: str, body: bytes) -> dict[str, str]:
    """The header set of Plane 1.3.1; without a secret there is no signature header at all."""
    headers = {
        "User-Agent": "Autopilot",
        "Accept-Encoding": "gzip, deflate",
        "Accept": "*/*",
        "Content-Type": "application/json",
        "X-Plane-Delivery": delivery_id,
        "X-Plane-Event": event,
    }
    return headers | ({"X-Plane-Signature": hmac_hex(secret, body)} if secret else {})


@dataclass(frozen=True)
class GiteaEvent:
    """What a delivery is about, in the two words Gitea has for it: route on `precise`."""

    name: str
    precise: str


def gitea_headers(
    event: GiteaEvent, delivery_id: str, secret: str, payload: bytes, *, forgejo: bool
) -> dict[str, str]:
    """The header set of Gitea 1.27 or Forgejo; without a secret the signatures are there, but empty."""
    signature = hmac_hex(secret, payload) if secret else ""
    families = ("Forgejo", "Gitea", "Gogs") if forgejo else ("Gitea", "Gogs")
    headers = {"User-Agent": "Go-http-client/1.1", "Accept-Encoding": "gzip"}
    for family in families:
        headers |= _family(family, event, delivery_id) | {f"X-{family}-Signature": signature}
    headers |= _family("GitHub", event, delivery_id)
    if not forgejo:
        headers |= {f"X-{of}-Hook-Installation-Target-Type": "repository" for of in ("Gitea", "GitHub")}
    sha1 = hmac_hex(secret, payload, "sha1") if secret else ""
    return headers | {"X-Hub-Signature": f"sha1={sha1}", "X-Hub-Signature-256": f"sha256={signature}"}


def _family(family: str, event: GiteaEvent, delivery_id: str) -> dict[str, str]:
    return {
        f"X-{family}-Delivery": delivery_id,
        f"X-{family}-Event": event.name,
        f"X-{family}-Event-Type": event.precise,
    }


@dataclass(frozen=True)
class Outgoing:
    """One delivery, ready to send: these headers and exactly these bytes."""

    id: str
    event: str
    url: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Sent:
    """What became of a delivery. `status` is None when no answer came; `error` then says why."""

    delivery: Outgoing
    status: int | None
    error: str = ""


@dataclass
class Courier:
    """Sends deliveries one after another from its own thread, which the first delivery starts."""

    timeout_s: float
    sent: deque[Sent] = field(default_factory=lambda: deque(maxlen=MAX_DELIVERIES_KEPT))
    _queue: "queue.Queue[Outgoing | None]" = field(default_factory=lambda: queue.Queue(MAX_QUEUED))
    _idle: threading.Condition = field(default_factory=threading.Condition)
    _open: int = 0
    _thread: threading.Thread | None = None

    def send(self, delivery: Outgoing) -> None:
        with self._idle:
            self._open += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="courier", daemon=True)
                self._thread.start()
        try:
            self._queue.put_nowait(delivery)
        except queue.Full:
            self._done(Sent(delivery, None, f"more than {MAX_QUEUED} deliveries wait already"))

    def lose(self, delivery: Outgoing) -> None:
        """The delivery never leaves; the receiver has to find out by itself."""
        with self._idle:
            self.sent.append(Sent(delivery, None, "lost on purpose"))

    def settle(self, timeout_s: float = SETTLE_TIMEOUT_S) -> None:
        """Returns when every delivery has been answered or given up."""
        with self._idle:
            if not self._idle.wait_for(lambda: self._open == 0, timeout_s):
                raise TimeoutError(f"{self._open} deliveries are still under way after {timeout_s} s.")

    def close(self) -> None:
        """Gives up what still waits; at most one exchange under way is waited for."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._drop_waiting()
        self._queue.put(None)
        thread.join(self.timeout_s + 5)

    def _drop_waiting(self) -> None:
        while True:
            try:
                waiting = self._queue.get_nowait()
            except queue.Empty:
                return
            if waiting is not None:
                self._done(Sent(waiting, None, "the sender was closed"))

    def _work(self) -> None:
        with httpx.Client(
            timeout=self.timeout_s, follow_redirects=True, trust_env=False, verify=TRUSTS_NOBODY
        ) as client:
            while (delivery := self._queue.get()) is not None:
                self._done(_exchange(client, delivery))

    def _done(self, sent: Sent) -> None:
        with self._idle:
            self.sent.append(sent)
            self._open -= 1
            self._idle.notify_all()


def _exchange(client: httpx.Client, delivery: Outgoing) -> Sent:
    try:
        # A request built by hand carries these headers and no others.
        request = httpx.Request("POST", delivery.url, headers=dict(delivery.headers), content=delivery.body)
        return Sent(delivery, client.send(request).status_code)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Sent(delivery, None, repr(error))


@dataclass(frozen=True)
class Recorded:
    """A fixture: the headers and the exact bytes that once arrived, with the secret that verifies them."""

    headers: Mapping[str, str]
    body: bytes
    secret: str


def load_recorded(fixture: Path) -> Recorded:
    """Reads `NAME.json` and `NAME.body`; the path may be either of them, or `NAME`."""
    stem = fixture.parent / fixture.name.removesuffix(".json").removesuffix(".body")
    about = json.loads(stem.with_name(stem.name + ".json").read_text(encoding="utf-8"))
    body = stem.with_name(stem.name + ".body").read_bytes()
    return Recorded(about["headers"], body, about["secret"])


def post_recorded(url: str, fixture: Path) -> httpx.Response:
    """Posts a recorded delivery with its real headers and exact bytes."""
    recorded = load_recorded(fixture)
    request = httpx.Request("POST", url, headers=dict(recorded.headers), content=recorded.body)
    with httpx.Client(timeout=RECORDED_TIMEOUT_S, trust_env=False, verify=TRUSTS_NOBODY) as client:
        return client.send(request)


@dataclass(frozen=True)
class Received:
    """A request as the catcher got it, header names in lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes


class Catcher:
    """An ASGI app that keeps what it is sent: stands where the orchestrator would."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.received: deque[Received] = deque(maxlen=MAX_DELIVERIES_KEPT)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        self.received.append(Received(request.url.path, dict(request.headers), await request.body()))
        answer: Response = JSONResponse({"status": "accepted"}, status_code=self.status)
        await answer(scope, receive, send)

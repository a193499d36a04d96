"""What the service is compared to: a bare "hello", and the original specification's own way to take a delivery.

`python -m benchmarks.baseline hello|spec FOLDER` serves one of them and prints its port.
"""

import socket
import sys
from pathlib import Path
from typing import Any

import uvicorn

from orchestrator.webhooks.deadline import KEEP_ALIVE_S, protocol_with_deadline

_HELLO = b"hello"
_HEADERS = [(b"content-type", b"text/plain"), (b"content-length", b"5")]
RECEIVE_TIMEOUT_S = 10.0


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """The least that an ASGI app can do. A POST's body is read, a GET has none."""
    if scope["method"] == "POST":
        while (await receive()).get("more_body"):
            pass
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _HELLO})


def serve(app: Any, *, has_lifespan: bool) -> None:
    """The same uvicorn settings as `orch serve`."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=protocol_with_deadline(RECEIVE_TIMEOUT_S),
        ws="none",
        lifespan="on" if has_lifespan else "off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    if sys.argv[1] == "hello":
        serve(hello, has_lifespan=False)
    else:
        from benchmarks.baseline_spec import spec  # a hello that loads FastAPI would start no faster than we do

        serve(spec(Path(sys.argv[2]) / "spec.db"), has_lifespan=True)

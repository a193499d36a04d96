"""`orch serve`: the app under uvicorn, with deadlines that uvicorn lacks."""

import gc
import socket
from collections.abc import Callable

import structlog
import uvicorn

from orchestrator import logs, main
from orchestrator.cli.setup import CONFIGURATION, read, say
from orchestrator.config import secret_values
from orchestrator.domain.errors import OrchestratorError
from orchestrator.webhooks.deadline import KEEP_ALIVE_S
from orchestrator.webhooks.direct import direct_protocol

log = structlog.get_logger()
GC_THRESHOLDS = (50_000, 50, 100)
"""A delivery leaves hardly any cycles behind, and Python looks for them too often: a tenth of its cost."""
GRACE_S = 5


class _Server(uvicorn.Server):
    """Says where it listens, which matters with port 0. `ending` is called before connections are waited for."""

    def __init__(self, config: uvicorn.Config, ending: Callable[[], None]) -> None:
        super().__init__(config)
        self._ending = ending

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._ending()
        await super().shutdown(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            log.info("serving", url=f"http://{host}:{port}")


def run(*, allow_unsigned_loopback: bool) -> int:
    settings, directory = read()
    logs.set_up(settings.log_level, secret_values(settings))
    try:
        main.refuse_unsigned(settings, allow_unsigned_loopback=allow_unsigned_loopback)
    except main.Refused as error:
        say(*error.faults)
        return CONFIGURATION
    if allow_unsigned_loopback:
        log.warning(
            "unsigned_deliveries_accepted", mend="Only from this machine; set the webhook secrets for real use."
        )
    orchestrator = main.build(settings, directory)
    main.log_problems(orchestrator.problems)
    app = main.asgi(orchestrator, allow_unsigned_loopback=allow_unsigned_loopback)
    host = "127.0.0.1" if allow_unsigned_loopback else settings.host
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    gc.enable()
    server = _Server(
        uvicorn.Config(
            app,
            host=host,
            port=settings.port,
            loop="uvloop",
            http=direct_protocol(settings.receive_timeout_s, app.open_route),
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=GRACE_S,
        ),
        orchestrator.changes.close,
    )
    try:
        server.run()
    except OrchestratorError as error:
        say(error.message, error.hint)
        return 1
    return 0 if server.started else 1

"""`orch serve`: the app under uvicorn, with deadlines that uvicorn lacks. It listens before most is loaded."""

import gc
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
import uvicorn

from orchestrator import logs
from orchestrator.cli.setup import CONFIGURATION, read, say
from orchestrator.config import Settings, SettingsFault, refuse_unsigned, secret_values
from orchestrator.dbfile import bring_up_to_date, path_of
from orchestrator.domain.errors import OrchestratorError
from orchestrator.web.early import Early
from orchestrator.web.signin import secret
from orchestrator.webhooks.deadline import KEEP_ALIVE_S
from orchestrator.webhooks.direct import direct_protocol

if TYPE_CHECKING:
    from orchestrator.configfile import Directory
    from orchestrator.main import Orchestrator
    from orchestrator.web.front import Front

log = structlog.get_logger()
GRACE_S = 5


class _Server(uvicorn.Server):
    """Says where it listens, which matters with port 0. `ending` is called before connections are waited for."""

    fault: Exception | None = None

    def __init__(self, config: uvicorn.Config, ending: Callable[[], None]) -> None:
        super().__init__(config)
        self._ending = ending

    def give_up(self, fault: Exception) -> None:
        """Ends as if it was asked to."""
        self.fault = fault
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._ending()
        await super().shutdown(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            log.info("serving", url=f"http://{host}:{port}")


@dataclass(slots=True)
class _Work:
    """What one process serves. The orchestrator is there when it was loaded."""

    settings: Settings
    directory: "Directory"
    allow_unsigned_loopback: bool
    orchestrator: "Orchestrator | None" = None

    def prepare(self) -> None:
        """What would keep it from working is found before it listens, since then nobody has to be told."""
        bring_up_to_date(path_of(self.settings.database))
        if not self.settings.session_secret:
            secret.kept(self.settings.data_dir)

    def load(self) -> "Front":
        from orchestrator import main  # noqa: PLC0415 - half of a start, and /health needs none of it

        self.orchestrator = main.build(self.settings, self.directory)
        main.log_problems(self.orchestrator.problems)
        front = main.asgi(self.orchestrator, allow_unsigned_loopback=self.allow_unsigned_loopback)
        _look_for_garbage()
        return front

    def end_streams(self) -> None:
        if self.orchestrator:
            self.orchestrator.changes.close()


def _look_for_garbage() -> None:
    """From now on, and never among what was loaded."""
    gc.freeze()
    gc.enable()


def run(*, allow_unsigned_loopback: bool) -> int:
    settings, directory = read()
    logs.set_up(settings.log_level, secret_values(settings))
    if allow_unsigned_loopback:
        log.warning(
            "unsigned_deliveries_accepted", mend="Only from this machine; set the webhook secrets for real use."
        )
    else:
        try:
            refuse_unsigned(settings)
        except SettingsFault as error:
            say(*error.faults)
            return CONFIGURATION
    server = _server(_Work(settings, directory, allow_unsigned_loopback))
    try:
        server.run()
        if server.fault:
            raise server.fault
    except OrchestratorError as error:
        say(error.message, error.hint)
        return 1
    return 0 if server.started else 1


def _server(work: _Work) -> _Server:
    settings = work.settings
    app = Early(
        work.prepare,
        work.load,
        lambda fault: server.give_up(fault),  # noqa: PLW0108 - the server is made of the app, below
        settings.path_prefix,
    )
    server = _Server(
        uvicorn.Config(
            app,
            host="127.0.0.1" if work.allow_unsigned_loopback else settings.host,
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
        work.end_streams,
    )
    return server

"""`orch serve` says what keeps it from working, before it listens where it can."""

import asyncio
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import warm
from orchestrator import config
from orchestrator.cli import serve
from orchestrator.configfile import Directory
from orchestrator.domain.errors import Permanent
from orchestrator.sim.world import Service

if TYPE_CHECKING:
    from orchestrator.web.front import Front

FAULT = Permanent("broken", "It is broken.")
SECRETS = {"ORCH_PLANE_WEBHOOK_SECRET": "plane-secret", "ORCH_GITEA_WEBHOOK_SECRET": "gitea-secret"}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("orchestrator.db", "no database " * 100, "file is not a database"),
        ("session-secret", "short", "does not hold a key"),
    ],
)
def test_what_it_cannot_work_with_ends_it_before_it_listens(
    tmp_path: Path, name: str, content: str, said: str
) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    environ = {**SECRETS, "ORCH_PORT": "0", "ORCH_DATA_DIR": str(tmp_path)}
    service = Service(tmp_path, environ, starter=warm.started)
    with pytest.raises(RuntimeError, match=said):
        service.start()
    assert '"serving"' not in service.log.read_text(encoding="utf-8")


class Broken(serve._Work):
    """Only what is loaded late is at fault."""

    def load(self) -> "Front":
        raise FAULT


async def test_what_keeps_it_from_working_when_it_listens_already_ends_it(tmp_path: Path) -> None:
    environ = {**SECRETS, "ORCH_PORT": "0", "ORCH_DATA_DIR": str(tmp_path)}
    server = serve._server(Broken(config.load(environ, None), Directory(), allow_unsigned_loopback=False))
    await asyncio.wait_for(server.serve(), 60)
    assert (server.started, server.fault) == (True, FAULT)


def test_a_port_that_is_taken_ends_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        environ = {**SECRETS, "ORCH_PORT": str(taken.getsockname()[1]), "ORCH_DATA_DIR": str(tmp_path)}
        service = Service(tmp_path, environ, starter=warm.started)
        with pytest.raises(RuntimeError, match="address already in use"):
            service.start()

"""The real nginx with our file, in front of whatever is to be tried behind it."""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from support import ROOT, until

NGINX = ROOT / "deploy" / "nginx.conf"
LIMIT_S = 30.0


@contextmanager
def nginx(upstream: str) -> Iterator[httpx.Client]:
    """On a unix socket: no port can be taken."""
    # Not below tmp_path: the name of a unix socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="nginx-") as name:
        socket = Path(name, "socket")
        with _at_work(Path(name), upstream, f"unix:{socket}", socket.exists):
            transport = httpx.HTTPTransport(uds=str(socket))
            with httpx.Client(transport=transport, base_url="http://your.host", timeout=LIMIT_S) as client:
                yield client


@contextmanager
def nginx_at(url: str, upstream: str) -> Iterator[None]:
    """On a port of this machine, for a browser."""
    place = urlsplit(url).netloc
    with (
        tempfile.TemporaryDirectory(prefix="nginx-") as name,
        _at_work(Path(name), upstream, place, lambda: answers(url)),
    ):
        yield


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def _at_work(folder: Path, upstream: str, listen: str, is_there: Callable[[], bool]) -> Iterator[None]:
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("nginx is not installed (package nginx), so deploy/nginx.conf was only read as text")
    errors, settings = folder / "error.log", _configured(folder, upstream, listen)
    command = [program, "-p", str(folder), "-e", str(errors), "-c", str(settings)]
    tried = subprocess.run([*command, "-t"], capture_output=True, timeout=LIMIT_S, check=False)
    assert (tried.returncode, b"[warn]" in tried.stderr) == (0, False), tried.stderr.decode()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        until(lambda: process.poll() is not None or is_there(), "nginx listens", LIMIT_S)
        assert process.poll() is None, errors.read_text()
        yield
    finally:
        process.terminate()
        process.wait(LIMIT_S)


def _configured(folder: Path, upstream: str, listen: str) -> Path:
    ours = NGINX.read_text(encoding="utf-8").replace("http://127.0.0.1:8500", upstream)
    (folder / "location.conf").write_text(ours, encoding="utf-8")
    settings = folder / "nginx.conf"
    settings.write_text(_wrapper(folder, listen), encoding="utf-8")
    return settings


def _wrapper(folder: Path, listen: str) -> str:
    """One unprivileged process that writes below `folder` only."""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    lines = [
        "user root;" if folder.owner() == "root" else "",
        "daemon off; master_process off; events { }",
        f"pid {folder}/pid;",
        "http { access_log off;",
        *(f"{kind}_temp_path {folder}/{kind};" for kind in kinds),
        f"server {{ listen {listen}; client_header_timeout 10s;",
        f"include {folder}/location.conf; }} }}",
    ]
    return "\n".join(lines)

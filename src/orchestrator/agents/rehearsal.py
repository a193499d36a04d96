"""What `probe` starts: puts itself into a sandbox as an agent would be, tries things, and says how they went.

Standard library only. The policy comes by standard input; each line of the answer is `name number`: 0 means that
it was possible, else it is the error.
"""

import _socket
import os

from orchestrator.agents import confine

_IPPROTO_MPTCP = 262


def main(where: str, forbidden: str, port: str, program: str) -> None:
    """`forbidden`: a file that others may read; `port`: one of loopback where somebody listens."""
    confine.apply(confine.read_policy(0), lifeline=False)
    tried = {
        "open": _tried(lambda: os.close(os.open(forbidden, os.O_RDONLY))),
        "connect": _tried(lambda: _socket.socket(2, 1, 0).connect(("127.0.0.1", int(port)))),
        "mptcp": _tried(lambda: _socket.socket(2, 1, _IPPROTO_MPTCP).connect(("127.0.0.1", int(port)))),
        "write": _tried(lambda: _write(where)),
        "execute": 0 if os.access(program, os.X_OK) else 1,
        "uid": os.getuid(),
        "pid": os.getpid(),
    }
    os.write(1, "".join(f"{name} {number}\n" for name, number in tried.items()).encode())


def _tried(attempt: object) -> int:
    assert callable(attempt)  # noqa: S101  # tells mypy
    try:
        attempt()
    except OSError as error:
        return error.errno or -1
    return 0


def _write(where: str) -> None:
    os.chdir(where)
    path = f"{where}/written"
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))

"""The filter, run by a small machine of our own: so that both processors' versions are tested on one."""

import errno
import struct

import pytest

from orchestrator.agents import seccomp

ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
MACHINES = sorted(seccomp.AUDIT_ARCHITECTURE)


def answer(machine: str, number: int, *args: int, architecture: int | None = None) -> int:
    """What the kernel would do with this call."""
    raw = seccomp.program(machine)
    code = [struct.unpack_from("<HBBI", raw, at) for at in range(0, len(raw), 8)]
    audit = seccomp.AUDIT_ARCHITECTURE[machine] if architecture is None else architecture
    data = struct.pack("<IIQ6Q", number, audit, 0, *(*args, *[0] * (6 - len(args))))
    at = accumulator = 0
    while True:
        operation, yes, no, value = code[at]
        at += 1
        match operation:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", data, value)
            case 0x54:
                accumulator &= value
            case 0x05:
                at += value
            case 0x06:
                return value
            case 0x15 | 0x35 | 0x45:
                holds = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}
                at += yes if holds[operation] else no
            case _:
                raise AssertionError(f"no such instruction: {operation:#x}")


def number(machine: str, name: str) -> int:
    numbers = (seccomp.DENIED | seccomp._NUMBERS)[name]
    found = numbers[list(seccomp.AUDIT_ARCHITECTURE).index(machine)]
    assert found is not None
    return found


CALLS = [
    ("socket", (2, 1, 0), 0),
    ("socket", (10, 1 | 0x80000 | 0x800, 6), 0),
    ("socket", (2, 1, 262), errno.EPROTONOSUPPORT),
    ("socket", (2, 2, 0), errno.EPERM),
    ("socket", (2, 3, 1), errno.EPERM),
    ("socket", (2, 5, 132), errno.EPERM),
    ("socket", (1, 1, 0), errno.EAFNOSUPPORT),
    ("socket", (16, 3, 0), errno.EAFNOSUPPORT),
    ("socket", (17, 3, 0), errno.EAFNOSUPPORT),
    ("socket", (40, 1, 0), errno.EAFNOSUPPORT),
    ("socketpair", (1, 1, 0), 0),
    ("socketpair", (2, 1, 0), errno.EPERM),
    ("sendto", (3, 0, 0, 0x4000), 0),
    ("sendto", (3, 0, 0, 0x20004000), errno.EOPNOTSUPP),
    ("sendmsg", (3, 0, 0x20000000), errno.EOPNOTSUPP),
    ("sendmmsg", (3, 0, 1, 0x20000000), errno.EOPNOTSUPP),
    ("clone", (0x01200011,), 0),
    ("clone", (0x003D0F00,), 0),
    ("clone", (0x10000011,), errno.EPERM),
    ("clone", (0x20000011,), errno.EPERM),
    ("clone3", (), errno.ENOSYS),
    ("personality", (0xFFFFFFFF,), 0),
    ("personality", (0x0040000,), errno.EPERM),
    ("ioctl", (0, 0x5401), 0),
    ("ioctl", (0, 0x5412), errno.EPERM),
    ("ioctl", (0, 0x541C), errno.EPERM),
    ("fchmod", (3, 0o755), 0),
    ("fchmod", (3, 0o4755), errno.EPERM),
    ("fchmodat", (3, 0, 0o755), 0),
    ("fchmodat", (3, 0, 0o2755), errno.EPERM),
    *((name, (), errno.EPERM) for name, numbers in seccomp.DENIED.items() if numbers[1] >= 0),
]


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(("name", "args", "code"), CALLS, ids=str)
def test_a_call_is_let_through_or_refused(machine: str, name: str, args: tuple[int, ...], code: int) -> None:
    wanted = ERRNO | code if code else ALLOW
    assert answer(machine, number(machine, name), *args) == wanted


@pytest.mark.parametrize("machine", MACHINES)
def test_what_nobody_named_is_let_through(machine: str) -> None:
    denied = {number(machine, name) for name in (*seccomp.DENIED, *seccomp._NUMBERS)}
    others = [one for one in range(470) if one not in denied]
    assert len(others) > 300
    assert {answer(machine, one, *[0x40] * 6) for one in others} == {ALLOW}


def test_another_architectures_calls_kill() -> None:
    assert answer("x86_64", 1, architecture=0x40000003) == KILL
    assert answer("aarch64", 1, architecture=0xC000003E) == KILL


def test_the_x32_calls_are_refused() -> None:
    assert answer("x86_64", 0x40000000 | 1) == ERRNO | errno.EPERM


def test_an_unknown_machine_gets_no_filter_and_so_no_level() -> None:
    with pytest.raises(KeyError):
        seccomp.program("riscv64")

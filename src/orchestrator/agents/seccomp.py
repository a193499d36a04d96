"""The filter of system calls that every confined agent gets, assembled into the kernel's own form. Pure.

Landlock guards files and TCP; this closes the ways around it and the parts of the kernel that no build needs.
"""

import errno
import platform
import struct
from collections.abc import Sequence

_LOAD, _EQUALS, _AT_LEAST, _HAS_BITS, _JUMP, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x05, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER, _ARCHITECTURE = 0, 4
_X32 = 0x40000000

_NAMESPACES = 0x7E020000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET."""
_FASTOPEN = 0x20000000
_SET_ID_BITS = 0o6000
_STREAM, _UNIX, _INET, _INET6, _TCP = 1, 1, 2, 10, 6
_TYPE_WITHOUT_FLAGS = 0xF
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_QUERY = 0xFFFFFFFF

AUDIT_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

DENIED: dict[str, tuple[int | None, int]] = {
    # Memory and descriptors of other processes: the CLI's memory holds the credential.
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440),
    "kcmp": (312, 272),
    "move_pages": (279, 239),
    "migrate_pages": (256, 238),
    # io_uring does what this filter forbids beside it.
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    # Keys outlive a run and are shared by a uid.
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # System V objects outlive a run and are shared by a uid; POSIX queues as well.
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "shmdt": (67, 197),
    "semget": (64, 190),
    "semop": (65, 193),
    "semctl": (66, 191),
    "semtimedop": (220, 192),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "mq_open": (240, 180),
    # Namespaces and mounts.
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_tree_attr": (467, 467),
    "open_by_handle_at": (304, 265),
    # The kernel itself.
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "fanotify_init": (300, 262),
    "syslog": (103, 116),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "vhangup": (153, 58),
    "iopl": (172, -1),
    "ioperm": (173, -1),
    "modify_ldt": (154, -1),
    # Without bind (which Landlock guards) it opens a port of the kernel's choice to everybody.
    "listen": (50, 201),
}
"""Refused with EPERM whatever the arguments are: number on x86_64 and on aarch64 (-1: there is none)."""

_NUMBERS = {
    "clone": (56, 220),
    "clone3": (435, 435),
    "personality": (135, 92),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "sendto": (44, 206),
    "sendmsg": (46, 211),
    "sendmmsg": (307, 269),
    "ioctl": (16, 29),
    "chmod": (90, -1),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
}

Instruction = tuple[int, int, int, int]
Body = Sequence[Instruction]


def program(machine: str = "") -> bytes:
    """For the machine that we run on, unless another is named. KeyError for one that we know nothing of."""
    machine = machine or platform.machine()
    column = list(AUDIT_ARCHITECTURE).index(machine) if machine in AUDIT_ARCHITECTURE else -1
    if column < 0:
        raise KeyError(machine)
    instructions = _assembled(AUDIT_ARCHITECTURE[machine], column)
    return b"".join(struct.pack("<HBBI", *one) for one in instructions)


def _assembled(architecture: int, column: int) -> list[Instruction]:
    """A call of another architecture has other numbers, so such a process is killed."""
    found: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUALS, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _X32),
        _refuse(errno.EPERM),
        *_any_of([numbers[column] for numbers in DENIED.values()]),
    ]
    for name, body in _by_argument():
        if _NUMBERS[name][column] >= 0:
            found += [(_EQUALS, 0, len(body), _NUMBERS[name][column]), *body]
    return [*found, (_RETURN, 0, 0, _ALLOW)]


def _any_of(numbers: Sequence[int | None]) -> list[Instruction]:
    known = [number for number in numbers if number is not None and number >= 0]
    tests = [(_EQUALS, len(known) - place, 0, number) for place, number in enumerate(known)]
    return [*tests, (_JUMP, 0, 0, 1), _refuse(errno.EPERM)]


def _refuse(code: int) -> Instruction:
    return (_RETURN, 0, 0, _ERRNO | code)


def _argument(place: int) -> Instruction:
    """The lower half; the kernel looks at no more of those that we ask for."""
    return (_LOAD, 0, 0, 16 + 8 * place)


def _by_argument() -> list[tuple[str, Body]]:
    """Each body ends the program: it has overwritten the call's number."""
    allow = (_RETURN, 0, 0, _ALLOW)

    def without(place: int, bits: int, code: int) -> Body:
        return (_argument(place), (_HAS_BITS, 0, 1, bits), _refuse(code), allow)

    def only(place: int, values: Sequence[int], code: int) -> Body:
        tests = [(_EQUALS, len(values) - at, 0, value) for at, value in enumerate(values)]
        return (_argument(place), *tests, _refuse(code), allow)

    def never(place: int, values: Sequence[int], code: int) -> Body:
        tests = [(_EQUALS, len(values) - at, 0, value) for at, value in enumerate(values)]
        return (_argument(place), *tests, allow, _refuse(code))

    return [
        ("clone3", (_refuse(errno.ENOSYS),)),  # its flags lie in memory, where no filter sees them
        ("clone", without(0, _NAMESPACES, errno.EPERM)),
        ("personality", only(0, (0, _QUERY), errno.EPERM)),
        ("socket", _TCP_ONLY),
        ("socketpair", only(0, (_UNIX,), errno.EPERM)),
        # Opens a connection without connect, which is what Landlock guards.
        ("sendto", without(3, _FASTOPEN, errno.EOPNOTSUPP)),
        ("sendmsg", without(2, _FASTOPEN, errno.EOPNOTSUPP)),
        ("sendmmsg", without(3, _FASTOPEN, errno.EOPNOTSUPP)),
        ("ioctl", never(1, (_TIOCSTI, _TIOCLINUX), errno.EPERM)),
        ("chmod", without(1, _SET_ID_BITS, errno.EPERM)),
        ("fchmod", without(1, _SET_ID_BITS, errno.EPERM)),
        ("fchmodat", without(2, _SET_ID_BITS, errno.EPERM)),
        ("fchmodat2", without(2, _SET_ID_BITS, errno.EPERM)),
    ]


_TCP_ONLY: Body = (
    _argument(0),
    (_EQUALS, 2, 0, _INET),
    (_EQUALS, 1, 0, _INET6),
    _refuse(errno.EAFNOSUPPORT),
    _argument(1),
    (0x54, 0, 0, _TYPE_WITHOUT_FLAGS),  # and
    (_EQUALS, 1, 0, _STREAM),
    _refuse(errno.EPERM),
    _argument(2),
    (_EQUALS, 2, 0, 0),
    (_EQUALS, 1, 0, _TCP),
    _refuse(errno.EPROTONOSUPPORT),  # MPTCP among them, which Landlock's rules do not know
    (_RETURN, 0, 0, _ALLOW),
)

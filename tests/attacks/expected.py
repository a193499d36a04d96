"""What gets through at each level. docs/explanation/sandbox.md repeats this table; a test compares the two."""

import re
from pathlib import Path

from orchestrator.agents.sandbox import Sandbox

_SOURCE = (Path(__file__).parent / "attacker.py").read_text(encoding="utf-8")


def _listed(name: str) -> tuple[str, ...]:
    found = re.search(rf"^{name} = \((.*?)^\)|^{name} = \((.*?)\)$", _SOURCE, re.MULTILINE | re.DOTALL)
    assert found is not None
    return tuple(re.findall(r"\w+", found[1] or found[2]))


ATTACKS, HOLES, MUST_WORK = _listed("ATTACKS"), _listed("HOLES"), _listed("MUST_WORK")
assert len(ATTACKS) == 21

ALWAYS_STOPPED = frozenset({"write_a_file_too_large", "leave_a_daemon"})
"""By the shim, whatever the level is."""

UNCONFINED = frozenset({*ATTACKS, *HOLES}) - ALWAYS_STOPPED
SAME_USER = frozenset({"change_mode_of_a_foreign_file"})
"""What Landlock and the filter leave to an agent that is the orchestrator's own user."""
SAME_USER_AS_ROOT = frozenset({"fork_300_times"})
"""The kernel does not count root's processes."""
WITHOUT_FILTER = frozenset(
    {
        *("connect_by_tcp", "connect_by_mptcp", "connect_by_fast_open", "connect_by_fast_open_message"),
        *("send_udp", "listen_on_a_port", "listen_without_bind", "connect_to_an_abstract_socket"),
        *("open_a_netlink_socket", "make_a_user_namespace", "use_io_uring", "add_a_key", "make_shared_memory"),
        *("set_a_set_id_bit", "change_personality"),
    }
)
"""What neither a uid nor a file tree of its own closes."""
WITHOUT_TREE = frozenset(
    {
        *("connect_to_a_unix_socket", "list_all_processes"),
        *("leave_a_shared_memory_file_for_the_next_run", "fill_a_memory_file_system"),
    }
)
"""What a uid alone leaves open besides."""
LEFT_TO_THE_MACHINE = frozenset({"make_a_user_namespace", "use_io_uring"})
"""Without our filter it is a switch of the machine whether its users may; so the page says that they can."""
OLD_SIGNALS = frozenset({"signal_the_orchestrator"})
OLD_TCP = frozenset({"connect_by_tcp", "listen_on_a_port"})
OLD_TRUNCATION = frozenset({"truncate_a_foreign_file"})


def through(level: Sandbox, *, is_root: bool) -> frozenset[str]:
    """The battery's expected answer."""
    abi, alone = level.landlock_abi, not level.has_user
    if not abi:
        return _without_landlock(level, is_root=is_root)
    found = frozenset[str]()
    if abi < 4:
        found |= OLD_TCP
    if alone and is_root:
        found |= SAME_USER_AS_ROOT
    if alone and not level.has_bwrap:
        found |= SAME_USER
        found |= OLD_SIGNALS if abi < 6 else frozenset()
        found |= OLD_TRUNCATION if abi < 3 else frozenset()
    if level.has_user and not level.has_bwrap:
        found |= {"list_all_processes"}
    return found


def _without_landlock(level: Sandbox, *, is_root: bool) -> frozenset[str]:
    if not (level.has_user or level.has_bwrap):
        return UNCONFINED
    found = WITHOUT_FILTER if level.has_bwrap else WITHOUT_FILTER | WITHOUT_TREE
    return found | SAME_USER_AS_ROOT if is_root and not level.has_user else found

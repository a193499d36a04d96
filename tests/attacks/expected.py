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
OLD_SIGNALS = frozenset({"signal_the_orchestrator"})
OLD_TCP = frozenset({"connect_by_tcp", "listen_on_a_port"})
OLD_TRUNCATION = frozenset({"truncate_a_foreign_file"})


def through(level: Sandbox, *, is_root: bool) -> frozenset[str]:
    """The battery's expected answer."""
    abi, alone = level.landlock_abi, not level.has_user
    if not abi:
        return UNCONFINED
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

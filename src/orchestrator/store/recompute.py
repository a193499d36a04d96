"""Makes stored decisions again, to see that each is what its basis leads to."""

from enum import StrEnum

from orchestrator.store import canonical
from orchestrator.store.decisions import Stored, decoded, decoded_basis
from orchestrator.workflow.decide import decide


class Same(StrEnum):
    """How a decision came out that was made again."""

    BYTES = "bytes"
    MEANING = "meaning"
    """Equal, but written when a decision had fewer fields."""
    NO = "no"


def compared(stored: Stored) -> tuple[Same, str]:
    """The decision of the stored basis against the stored one; the text says what differs."""
    try:
        basis = decoded_basis(stored.basis)
        again = decide(basis.project, basis.task, basis.facts)
        decision, verdicts = canonical.encode(again), canonical.encode(again.verdicts)
        if (decision, verdicts) == (stored.decision, stored.verdicts):
            return Same.BYTES, ""
        old = decoded(stored.decision)
        if (decision, stored.verdicts) == (canonical.encode(old), canonical.encode(old.verdicts)):
            return Same.MEANING, ""
    except Exception as error:  # noqa: BLE001 - whatever a spoiled row breaks, it is that row's difference
        return Same.NO, f"cannot be made again ({type(error).__name__})"
    return Same.NO, "verdicts differ" if decision == stored.decision else "decision differs"

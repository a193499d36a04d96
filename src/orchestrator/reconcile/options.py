"""What an operator sets of the looks at tasks."""

from dataclasses import dataclass

from orchestrator.qg.facts import NO_SPENDING_LIMITS, SpendingLimits
from orchestrator.reconcile.writeback import Addresses

NOWHERE = Addresses()


@dataclass(frozen=True, slots=True)
class Options:
    """Of every task alike. `addresses` begin the links that people get."""

    max_attempts: int = 3
    max_runs_without_progress: int = 40
    retry_pause_s: float = 0.0
    """The first rest after a fault that passes; the next ones double."""
    addresses: Addresses = NOWHERE
    poll_interval_s: float = 30.0
    spending: SpendingLimits = NO_SPENDING_LIMITS

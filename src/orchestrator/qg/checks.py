"""The gates by their names: one function each, over frozen facts."""

from collections.abc import Callable, Mapping

from orchestrator.domain.model import Project, Task
from orchestrator.qg.ci import checks_green
from orchestrator.qg.documents import brd, design
from orchestrator.qg.facts import Facts
from orchestrator.qg.intake import intake
from orchestrator.qg.pull import pull_request
from orchestrator.qg.review import review_approved
from orchestrator.qg.testing import passed_by_tester
from orchestrator.qg.verdict import Verdict

__all__ = ["GATES", "Gate", "intake"]

Gate = Callable[[Project, Task, Facts], Verdict]

GATES: Mapping[str, Gate] = {
    "QG-0": intake,
    "QG-1": brd,
    "QG-2": design,
    "QG-3": pull_request,
    "QG-4": checks_green,
    "QG-5": review_approved,
    "QG-6": passed_by_tester,
}

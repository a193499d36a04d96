"""The pipeline as data: which role works at which stage, what it writes, and which gate leaves it."""

from dataclasses import dataclass

from orchestrator.domain.model import Stage
from orchestrator.domain.roles import DocumentName, Role

VERSION = 9
"""Part of every decision's configuration digest; raise it when the table or what gates say changes."""


@dataclass(frozen=True, slots=True)
class Step:
    """`gate` leaves the stage; `commits` is False for roles whose output is a verdict."""

    stage: Stage
    role: Role | None
    documents: tuple[DocumentName, ...] = ()
    commits: bool = False
    gate: str = ""


STEPS: tuple[Step, ...] = (
    Step(Stage.CREATED, None, gate="QG-0"),
    Step(Stage.ANALYSIS, Role.ANALYST, (DocumentName.BRD,), commits=True, gate="QG-1"),
    Step(
        Stage.ARCHITECTURE,
        Role.ARCHITECT,
        (DocumentName.ARCHITECTURE, DocumentName.DEV_TASK),
        commits=True,
        gate="QG-2",
    ),
    Step(Stage.DEVELOPMENT, Role.DEVELOPER, (DocumentName.DEV_REPORT,), commits=True, gate="QG-3"),
    Step(Stage.CI, None, gate="QG-4"),
    Step(Stage.REVIEW, Role.REVIEWER, gate="QG-5"),
    Step(Stage.TESTING, Role.TESTER, gate="QG-6"),
    Step(Stage.READY, None),
    Step(Stage.DONE, None),
)
_BY_STAGE = {step.stage: step for step in STEPS}
_BY_ROLE = {step.role: step for step in STEPS if step.role}
_PLACES = {step.stage: place for place, step in enumerate(STEPS)}
GATED = tuple(step for step in STEPS if step.gate and step.stage is not Stage.CREATED)
"""The stages between intake and ready, in their order."""


def step_of_stage(stage: Stage) -> Step:
    return _BY_STAGE[stage]


def step_of_role(role: Role) -> Step:
    return _BY_ROLE[role]


def place(stage: Stage) -> int:
    """Where it comes in the pipeline."""
    return _PLACES[stage]

"""The pipeline as data: which role works at which stage, what it writes, and what comes next."""

from dataclasses import dataclass

from orchestrator.domain.model import Role, Stage

VERSION = 1
"""Part of every decision's configuration digest; raise it when the meaning of the table changes."""


@dataclass(frozen=True, slots=True)
class Step:
    """`documents` are paths under tasks/<KEY>/; `commits` is False for roles whose output is a verdict."""

    stage: Stage
    role: Role | None
    documents: tuple[str, ...] = ()
    commits: bool = False


STEPS: tuple[Step, ...] = (
    Step(Stage.CREATED, None),
    Step(Stage.ANALYSIS, Role.ANALYST, ("BRD.md",), commits=True),
    Step(Stage.ARCHITECTURE, Role.ARCHITECT, ("ARCHITECTURE.md", "DEV_TASK.md"), commits=True),
    Step(Stage.DEVELOPMENT, Role.DEVELOPER, ("DEV_REPORT.md",), commits=True),
    Step(Stage.CI, None),
    Step(Stage.REVIEW, Role.REVIEWER),
    Step(Stage.TESTING, Role.TESTER),
    Step(Stage.READY, None),
    Step(Stage.DONE, None),
)
_BY_STAGE = {step.stage: step for step in STEPS}
_BY_ROLE = {step.role: step for step in STEPS if step.role}


def step_of_stage(stage: Stage) -> Step:
    return _BY_STAGE[stage]


def step_of_role(role: Role) -> Step:
    return _BY_ROLE[role]

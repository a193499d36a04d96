"""Who works, in which language, and what each leaves. Apart from the other values, for an agent needs no more."""

from enum import StrEnum


class Role(StrEnum):
    """Who works."""

    ANALYST = "analyst"
    ARCHITECT = "architect"
    DEVELOPER = "developer"
    REVIEWER = "reviewer"
    TESTER = "tester"


class Language(StrEnum):
    """The language of documents and prompts."""

    RU = "ru"
    EN = "en"


class DocumentName(StrEnum):
    """The pipeline's documents; a project may give their files other names."""

    BRD = "brd"
    ARCHITECTURE = "architecture"
    DEV_TASK = "dev_task"
    DEV_REPORT = "dev_report"


USUAL_FILES: dict[DocumentName, str] = {
    DocumentName.BRD: "BRD.md",
    DocumentName.ARCHITECTURE: "ARCHITECTURE.md",
    DocumentName.DEV_TASK: "DEV_TASK.md",
    DocumentName.DEV_REPORT: "DEV_REPORT.md",
}
"""Their file names under tasks/<KEY>/, where a project gives no other."""

TASK_FILES: dict[Role, str] = {
    Role.ANALYST: ".task.md",
    Role.ARCHITECT: ".task-arch.md",
    Role.DEVELOPER: ".task-dev.md",
    Role.REVIEWER: ".task-review.md",
    Role.TESTER: ".task-test.md",
}
"""The specification's task file of each role, in the root of the workspace, excluded from git."""

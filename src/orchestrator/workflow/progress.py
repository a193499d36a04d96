"""Since when a task gets no further: the measure of the breakers that count runs and money. Pure."""

from orchestrator.qg.facts import RunFact
from orchestrator.workflow.pipeline import place


def since_accepted(runs: tuple[RunFact, ...]) -> tuple[RunFact, ...]:
    """The runs since the last accepted change, oldest first; `runs` are all of the task's, oldest first.

    Accepted is what let the task stand where it had never stood before: the first run of a later stage shows that
    the gates before it were opened, by people or by facts. A stage that is reached again after it was sent back is
    none: developer and reviewer could go round like that for ever, and every run of them would end well.
    """
    furthest, begin = -1, 0
    for number, run in enumerate(runs):
        if place(run.stage) > furthest:
            furthest, begin = place(run.stage), number
    return runs[begin:]

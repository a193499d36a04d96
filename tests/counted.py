"""What a proof counted: "0 of N" is worth as much as its N, so the N is printed where nothing failed, too."""

from collections.abc import Iterable, Iterator

from pytest import CollectReport, TestReport  # noqa: PT013 - types alone

SAID = "said"
_new: list[str] = []
"""Of the test that runs now: a worker runs one at a time."""


def said(text: str) -> None:
    """Shown at the end of the run, by whichever worker the test was run."""
    _new.append(text)


def keep_in(report: TestReport) -> None:
    """A report travels from a worker to the process that prints."""
    report.user_properties.extend((SAID, text) for text in _new)
    _new.clear()


def lines(reports: Iterable[TestReport | CollectReport | object]) -> Iterator[str]:
    """By file, then in the order of the reports; what a failed test counted proves nothing, and is marked."""
    found = [one for one in reports if isinstance(one, TestReport)]
    for report in sorted(found, key=lambda one: one.location[0]):
        for name, text in report.user_properties:
            if name == SAID:
                mark = "FAILED " if report.failed else ""
                yield f"{mark}{report.location[0].removeprefix('tests/')}: {text}"

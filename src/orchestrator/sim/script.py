"""What a scripted agent does in a run: one table for the scripted Messages API and the scripted `claude`.

A work item may choose what is played for it: a line `Scenario: review_rejects_once, developer no_commit` in its
text (in Russian `Сценарий: …`) reaches the agents in their task files. The names are `TOLD_IN_THE_TASK`'s.
"""

import posixpath
import re
import shlex
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple, Self

from orchestrator.domain.roles import TASK_FILES, USUAL_FILES, DocumentName, Language, Role
from orchestrator.sim import writings

MAX_TITLE_CHARS = 120
MAX_HEADER_LINES = 8
MAX_TASK_FILE_CHARS = 50_000
LONG_TOOL_S = 600
MAX_DELAY_S = 3600.0
MAX_POINTS = 20
QUESTION = "QUESTION"
"""In place of a task's key: `orch doctor` asks whether the model answers at all."""
_REPORT_RESULT = 1
"""The developer's report is what every role that needs it reads second."""

_MARKER = re.compile(
    r"Task: (?P<key>[A-Za-z0-9][A-Za-z0-9_-]{0,63}) \| Role: (?P<role>[a-z]+) \| Run: (?P<run>[0-9a-f-]{36})"
)
_LINE_NUMBER = re.compile(r"^\s*\d+(?:\t|→)", re.MULTILINE)
_LABELLED_TITLE = re.compile(r"^(?:title|название|заголовок):[ \t]*(?P<title>\S.*)$", re.MULTILINE | re.IGNORECASE)
_HEADING = re.compile(r"^#[ \t]+(?P<title>\S.*)$", re.MULTILINE)
_POINT = re.compile(r"^### \d+\. (?P<code>[a-z0-9_]{1,60}): ", re.MULTILINE)
_ANSWERED = re.compile(r"^- [a-z0-9_]{1,60} \([0-9a-f]{8}\): .{1,80}$", re.MULTILINE)
_SCENARIO_LINE = re.compile(r"^[ \t]*(?:scenario|сценарий):[ \t]*(\S.*)$", re.MULTILINE | re.IGNORECASE)
_FILE = re.compile(r"\w[\w.-]{0,99}")
_ITEM_MARK = "<<< BEGIN UNTRUSTED TEXT"
_MARKUP = re.compile(r"[\\`*_#<>\[\]|]")


class ScenarioName(StrEnum):
    """What may happen to a run. Not every stand-in can play every one of them; each says which it knows."""

    WORK = "work"
    NO_COMMIT = "no_commit"
    SLOW = "slow"
    LONG_TOOL = "long_tool"
    HTTP_401 = "http_401"
    HTTP_404 = "http_404"  # there is no such model
    HTTP_429 = "http_429"
    HTTP_529 = "http_529"
    CUT_STREAM = "cut_stream"  # always
    OVERLOADED_THEN_WORK = "overloaded_then_work"
    CUT_STREAM_THEN_WORK = "cut_stream_then_work"
    USAGE_LIMIT = "usage_limit"  # the API answers so
    LIMIT = "limit"  # the CLI ends so
    FAIL = "fail"
    HANG = "hang"
    CRASH = "crash"
    FORK_DAEMON = "fork_daemon"
    OUTPUT_MISSING = "output_missing"  # something is committed, but not the document
    NOT_READY = "not_ready"  # the work order has no ready line
    PROTECTED_PATH = "protected_path"  # the developer changes a CI file, too
    REVIEW_REJECTS = "review_rejects"
    REVIEW_REJECTS_ONCE = "review_rejects_once"  # until the developer's report answers a rejected review
    TEST_FAILS = "test_fails"
    TEST_FAILS_ONCE = "test_fails_once"  # until the developer's report answers a failed test
    NO_VERDICT = "no_verdict"  # words only
    BAD_VERDICT = "bad_verdict"  # structured, but of another shape


_WRITERS = frozenset({Role.ANALYST, Role.ARCHITECT, Role.DEVELOPER})
_JUDGES = frozenset({Role.REVIEWER, Role.TESTER})
TOLD_IN_THE_TASK: dict[ScenarioName, frozenset[Role]] = {
    ScenarioName.NO_COMMIT: _WRITERS,
    ScenarioName.OUTPUT_MISSING: _WRITERS,
    ScenarioName.NOT_READY: frozenset({Role.ARCHITECT}),
    ScenarioName.PROTECTED_PATH: frozenset({Role.DEVELOPER}),
    ScenarioName.REVIEW_REJECTS: frozenset({Role.REVIEWER}),
    ScenarioName.REVIEW_REJECTS_ONCE: frozenset({Role.REVIEWER}),
    ScenarioName.TEST_FAILS: frozenset({Role.TESTER}),
    ScenarioName.TEST_FAILS_ONCE: frozenset({Role.TESTER}),
    ScenarioName.NO_VERDICT: _JUDGES,
    ScenarioName.BAD_VERDICT: _JUDGES,
}
"""What both stand-ins can play and a work item may ask for, and who plays it."""


class Scenario(NamedTuple):
    """A name and, for `slow:SECONDS`, the delay before each answer."""

    name: ScenarioName
    delay_s: float = 0.0

    @classmethod
    def parse(cls, text: str, known: frozenset[ScenarioName]) -> Self:
        """`work`, `slow:3` …; ValueError names what this stand-in can play."""
        name, _, delay = text.strip().partition(":")
        if name not in known:
            raise ValueError(f"unknown scenario {text[:80]!r}; known are: {', '.join(sorted(known))}")
        if not delay:
            return cls(ScenarioName(name))
        if name != ScenarioName.SLOW or not re.fullmatch(r"\d{1,4}(\.\d{1,3})?", delay):
            raise ValueError(f"scenario {text[:80]!r}: only slow takes a value, in seconds, as in slow:3")
        return cls(ScenarioName.SLOW, min(float(delay), MAX_DELAY_S))


class Assignment(NamedTuple):
    """What the first lines of our prompt say. `scenario` is the raw text of a `Scenario:` line, or empty."""

    key: str
    role: Role
    run: str
    language: Language
    scenario: str = ""
    files: Mapping[DocumentName, str] = USUAL_FILES


def read_assignment(prompt: str) -> Assignment | None:
    """None unless the very first line is the marker: quoted or injected markers further down do not count."""
    header = prompt.split("\n", MAX_HEADER_LINES)[:MAX_HEADER_LINES]
    marker = _MARKER.fullmatch(header[0].strip())
    if marker is None or marker["role"] not in list(Role):
        return None
    fields = dict(line.strip().partition(": ")[::2] for line in header[1:])
    language = Language.RU if fields.get("Language") == Language.RU else Language.EN
    scenario = fields.get("Scenario", "")
    files = _files(fields.get("Documents", ""))
    return Assignment(marker["key"], Role(marker["role"]), marker["run"], language, scenario, files)


def _files(line: str) -> Mapping[DocumentName, str]:
    """The project's names for its documents, in the order of the pipeline; the usual ones for anything else."""
    names = [name.strip() for name in line.split("|")]
    is_plain = len(names) == len(DocumentName) and all(_FILE.fullmatch(name) for name in names)
    return dict(zip(DocumentName, names, strict=True)) if is_plain else USUAL_FILES


class Say(NamedTuple):
    """Text only: the turn ends here."""

    text: str


class Read(NamedTuple):
    path: str
    text: str


class Write(NamedTuple):
    path: str
    content: str


class Bash(NamedTuple):
    """Commands as argv lists, joined by `&&` for the real CLI; the scripted one needs no shell for them."""

    commands: tuple[tuple[str, ...], ...]
    description: str
    timeout_s: int = 120

    @property
    def line(self) -> str:
        return " && ".join(shlex.join(command) for command in self.commands)


class Answer(NamedTuple):
    """The structured output that `--json-schema` asks for; the CLI ends the run when it fits."""

    output: dict[str, Any]


STRUCTURED = "StructuredOutput"
"""The tool by which the CLI asks the model for it."""

Tool = Read | Write | Bash
Step = Say | Answer | Tool


def tool_arguments(tool: Tool | Answer) -> tuple[str, dict[str, Any]]:
    """The tool's name and input as the CLI's tools want them."""
    match tool:
        case Answer():
            return STRUCTURED, tool.output
        case Read():
            return "Read", {"file_path": tool.path}
        case Write():
            return "Write", {"file_path": tool.path, "content": tool.content}
        case Bash():
            call: dict[str, str | int] = {"command": tool.line, "description": tool.description}
            return "Bash", call | {"timeout": tool.timeout_s * 1000}


def tool_id(assignment: Assignment, step: int) -> str:
    """The same step of the same run has the same id, so that a retried request gets the same answer."""
    return f"toolu_{assignment.run.replace('-', '')[:16]}{step:04}"


def title_from(task_file: str, fallback: str) -> str:
    """The title named in a task file, made harmless: it goes into documents, so no markup and one line."""
    text = _LINE_NUMBER.sub("", task_file[:MAX_TASK_FILE_CHARS])
    text = text.partition(_ITEM_MARK)[2] or text
    found = _LABELLED_TITLE.search(text) or _HEADING.search(text)
    printable = "".join(c if c.isprintable() else " " for c in _MARKUP.sub(" ", found["title"] if found else ""))
    return " ".join(printable.split())[:MAX_TITLE_CHARS].strip() or fallback


def feedback_codes(task_file: str) -> tuple[str, ...]:
    """Why the role works again, as the headings of the task file say; empty in a first round."""
    text = _LINE_NUMBER.sub("", task_file[:MAX_TASK_FILE_CHARS]).partition(_ITEM_MARK)[0]
    return tuple(dict.fromkeys(_POINT.findall(text)))


def scenarios_in(task_file: str, role: Role) -> frozenset[ScenarioName]:
    """What lines like `Scenario: developer no_commit, test_fails_once` (or `Сценарий: …`) ask of this role."""
    text = _LINE_NUMBER.sub("", task_file[:MAX_TASK_FILE_CHARS])
    entries = [entry.split() for line in _SCENARIO_LINE.findall(text) for entry in line.split(",")]
    named = [words[-1] for words in entries if words and words[:-1] in ([], [role.value])]
    return frozenset(name for name in TOLD_IN_THE_TASK if name in named and role in TOLD_IN_THE_TASK[name])


class _Part(NamedTuple):
    """What a script goes by: who works, where, what is played, and what the tools have answered so far."""

    assignment: Assignment
    plays: frozenset[ScenarioName]
    cwd: str
    title: str
    codes: tuple[str, ...]
    results: tuple[str, ...]

    @property
    def module(self) -> str:
        return re.sub(r"\W", "_", self.assignment.key.lower())

    @property
    def code(self) -> str:
        return f"src/{self.module}.py"

    @property
    def test(self) -> str:
        return f"tests/test_{self.module}.py"

    @property
    def run(self) -> str:
        """Differs in every round, so that what is written differs too."""
        return self.assignment.run[:8]

    def path(self, document: DocumentName) -> str:
        return f"tasks/{self.assignment.key}/{self.assignment.files[document]}"

    def filled(self, template: str) -> str:
        named = {"key": self.assignment.key, "title": self.title, "code": self.code, "test": self.test}
        return template.format(**named, module=self.module)

    def here(self, path: str) -> str:
        return posixpath.join(self.cwd, path)

    def result(self, number: int) -> str:
        return _LINE_NUMBER.sub("", self.results[number]) if number < len(self.results) else ""


def steps(assignment: Assignment, scenario: ScenarioName, cwd: str, results: Sequence[str]) -> tuple[Step, ...]:
    """The whole conversation. A step may depend on the results of those before it, and on nothing after."""
    if assignment.key == QUESTION:
        return (Say("ok"),)
    task_file = results[0] if results else ""
    part = _Part(
        assignment=assignment,
        plays=scenarios_in(task_file, assignment.role) | {scenario},
        cwd=cwd,
        title=title_from(task_file, assignment.key),
        codes=feedback_codes(task_file),
        results=tuple(results),
    )
    first = Read(part.here(TASK_FILES[assignment.role]), f"I read the task file of {assignment.key} first.")
    waits = ScenarioName.LONG_TOOL in part.plays
    pause = [Bash((("sleep", str(LONG_TOOL_S)),), "Wait", LONG_TOOL_S)] if waits else []
    return (first, *pause, *_work(part))


def step_at(number: int, conversation: tuple[Step, ...]) -> Step:
    """The last step answers everything that comes after it."""
    return conversation[min(number, len(conversation) - 1)]


def _work(part: _Part) -> list[Step]:
    match part.assignment.role:
        case Role.ANALYST | Role.ARCHITECT:
            return _documents(part)
        case Role.DEVELOPER:
            return _development(part)
        case Role.REVIEWER:
            return _verdict(part, _review(part))
        case Role.TESTER:
            return _verdict(part, _test(part))


def _documents(part: _Part) -> list[Step]:
    """The CLI overwrites only what was read in the same session, and in a later round the files are there."""
    documents = writings.DOCUMENTS[part.assignment.role]
    paths = [part.path(document) for document in documents]
    if ScenarioName.OUTPUT_MISSING in part.plays:
        paths = [f"tasks/{part.assignment.key}/NOTES.md"]
    found: list[Step] = [_look(part, path) for path in paths] if part.codes else []
    found += [
        Write(part.here(path), _document(part, document)) for path, document in zip(paths, documents, strict=False)
    ]
    return [*found, *_commit(part, paths), Say(f"{', '.join(paths)} is written.")]


def _document(part: _Part, document: DocumentName, points: Sequence[str] = ()) -> str:
    language = part.assignment.language
    text = part.filled(writings.TEXTS[document][language])
    points = points or _points(part)
    if points:
        text += "\n".join(("", writings.REWORK_HEADING[language], *points, ""))
    is_ready = document is DocumentName.DEV_TASK and ScenarioName.NOT_READY not in part.plays
    return text + writings.READY[language] if is_ready else text


def _points(part: _Part) -> list[str]:
    template = writings.REWORK_POINT[part.assignment.language]
    return [template.format(code=code, run=part.run) for code in part.codes]


def _development(part: _Part) -> list[Step]:
    report = part.path(DocumentName.DEV_REPORT)
    reworked = "".join(writings.CODE_OF_REWORK.format(code=one, run=part.run) for one in part.codes)
    paths = [part.code, part.test, report]
    found: list[Step] = []
    if part.codes:
        paths = [part.code, report]
        found = [_look(part, report), _look(part, part.code)]
    elif ScenarioName.PROTECTED_PATH in part.plays:
        paths.append(writings.PROTECTED_PATH)
        found = [_look(part, writings.PROTECTED_PATH)]
    # Earlier answers stay in the report: who judged then reads there that it was heard.
    earlier = _ANSWERED.findall(part.result(_REPORT_RESULT)) if part.codes else []
    texts = {
        part.code: part.filled(writings.CODE) + reworked,
        part.test: part.filled(writings.TEST),
        report: _document(part, DocumentName.DEV_REPORT, [*earlier[-MAX_POINTS:], *_points(part)]),
        writings.PROTECTED_PATH: part.filled(writings.PROTECTED_TEXT),
    }
    if ScenarioName.OUTPUT_MISSING in part.plays:
        paths.remove(report)
    found += [Write(part.here(path), texts[path]) for path in paths]
    return [*found, *_commit(part, paths), Say(f"{part.assignment.key} is done: {', '.join(paths)}.")]


def _look(part: _Part, path: str) -> Read:
    return Read(part.here(path), f"I look at {path} as it is.")


def _commit(part: _Part, paths: Sequence[str]) -> list[Step]:
    if ScenarioName.NO_COMMIT in part.plays:
        return []
    names = ", ".join(posixpath.basename(path) for path in paths)
    message = f"{part.assignment.key}: {names}"
    return [Bash((("git", "add", "--", *paths), ("git", "commit", "-q", "-m", message)), f"Commit {names}")]


def _verdict(part: _Part, output: dict[str, Any]) -> list[Step]:
    """The developer's report is read first; what it says decides (see `_was_answered`)."""
    last: Step = Answer(output)
    if ScenarioName.NO_VERDICT in part.plays:
        last = Say(f"Verdict: {output['verdict']}. {output['summary']}")
    if ScenarioName.BAD_VERDICT in part.plays:
        last = Answer({"verdict": "perhaps"})
    return [_look(part, part.path(DocumentName.DEV_REPORT)), last]


def _was_answered(part: _Part, code: str) -> bool:
    """Has the developer answered this cause before? Then whoever fails once is content."""
    return any(point.startswith(f"- {code} (") for point in _ANSWERED.findall(part.result(_REPORT_RESULT)))


def _review(part: _Part) -> dict[str, Any]:
    once = ScenarioName.REVIEW_REJECTS_ONCE in part.plays and not _was_answered(part, "review_rejected")
    is_rejected = once or ScenarioName.REVIEW_REJECTS in part.plays
    finding = {
        "file": part.code,
        "line": 4,
        "severity": "blocking",
        "text": writings.FINDING[part.assignment.language],
    }
    return _output(part, "changes_requested" if is_rejected else "approved") | {
        "findings": [finding] if is_rejected else []
    }


def _test(part: _Part) -> dict[str, Any]:
    once = ScenarioName.TEST_FAILS_ONCE in part.plays and not _was_answered(part, "test_failed")
    word = "failed" if once or ScenarioName.TEST_FAILS in part.plays else "passed"
    language = part.assignment.language
    checks = [
        {"criterion": criterion, "result": result, "detail": writings.SEEN[language][result]}
        for criterion, result in zip(writings.CRITERIA[language], ("passed", word), strict=True)
    ]
    return _output(part, word) | {"checks": checks}


def _output(part: _Part, word: str) -> dict[str, Any]:
    return {"verdict": word, "summary": part.filled(writings.SUMMARIES[word][part.assignment.language])}

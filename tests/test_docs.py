"""The documents agree with the code and with each other. A failure says what to write where."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer

from orchestrator import config, configfile, main
from orchestrator.cli.app import app as cli
from orchestrator.configfile import Directory
from orchestrator.domain.model import PROTECTED_PATHS, Stage
from orchestrator.domain.roles import Role
from orchestrator.domain.run import Outcome
from orchestrator.qg.commands import Verb
from orchestrator.store.schema import metadata
from orchestrator.words.items import ITEMS
from orchestrator.yamlcheck import Check
from web.house import house

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PLACES = ("*.md", "docs/**/*.md", "deploy/**/*.md", "benchmarks/**/*.md", "changelog.d/*.md")
PAGES = sorted(page for place in PLACES for page in ROOT.glob(place))
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
PICTURE = re.compile(r"!\[[^\]]+\]\(([^)\s]+)\)")
MAX_PICTURE_BYTES = 200_000
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
EXTERNAL = ("http://", "https://", "mailto:")


def _text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def _named(pages: list[Path]) -> Iterator[tuple[Path, str]]:
    """Every piece of code that the pages show, with the page: what a reader would type."""
    for page in pages:
        text = _text(page)
        for _, _, block in BLOCK.findall(text):
            yield from ((page, line) for line in block.splitlines())
        yield from ((page, piece) for piece in INLINE.findall(BLOCK.sub("", text)))


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


# --- links


def _anchors(page: Path) -> set[str]:
    """As the forge makes them: lower case, spaces to dashes, no punctuation."""
    titles = HEADING.findall(BLOCK.sub("", _text(page)))
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(BLOCK.sub("", _text(page))):
        if link.startswith(EXTERNAL):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{_name(page)} links to {link}, which is not there"
        assert target.is_relative_to(ROOT), f"{_name(page)} links to {link}, outside the project"
        if anchor:
            assert anchor in _anchors(target), f"{_name(page)}: {link} names no heading of that page"


def test_every_picture_is_small_and_shown() -> None:
    """`make pictures` makes them of real screenshots."""
    shown = {(page.parent / link).resolve() for page in PAGES for link in PICTURE.findall(_text(page))}
    kept = set((DOCS / "pictures").glob("*"))
    assert kept
    assert {one for one in shown if one.is_relative_to(ROOT)} == kept
    assert {one.name for one in kept if one.stat().st_size > MAX_PICTURE_BYTES} == set()
    assert {one.name for one in kept if not one.read_bytes().startswith(b"\x89PNG")} == set()


def test_every_page_below_docs_is_linked_from_the_index() -> None:
    index = DOCS / "README.md"
    linked = {(DOCS / link.partition("#")[0]).resolve() for link in LINK.findall(_text(index))}
    missing = [_name(page) for page in DOCS.rglob("*.md") if page != index and page.resolve() not in linked]
    assert missing == []


# --- what a reader would type


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", _text(ROOT / "Makefile"), re.MULTILINE))
    named = {
        (_name(page), target)
        for page, piece in _named(PAGES)
        for target in re.findall(r"(?:^|\s)make ([a-z][a-z-]*)", piece)
    }
    assert {one for one in named if one[1] not in targets} == set()
    assert {"demo", "test"} <= {target for page, target in named if page == "README.md"}


def _commands() -> Mapping[str, object]:
    group = typer.main.get_command(cli)
    named: dict[str, object] = dict(getattr(group, "commands", {}))
    for name, command in list(named.items()):
        named |= {f"{name} {inner}": it for inner, it in getattr(command, "commands", {}).items()}
    return named


def test_every_command_that_is_named_exists() -> None:
    known = {name.partition(" ")[0] for name in _commands()}
    for page, piece in _named(PAGES):
        for command in re.findall(r"(?:^|\s|\S/)orch ([a-z][a-z-]*)", piece):
            assert command in known, f"{_name(page)} names `orch {command}`"


def test_every_order_in_a_comment_that_is_named_exists() -> None:
    for page, piece in _named(PAGES):
        for order in re.findall(r"(?:^|\s)/orch ([a-z][a-z-]*)", piece):
            assert order in set(Verb), f"{_name(page)} names `/orch {order}`"


def test_the_reference_shows_every_command() -> None:
    leaves = {name for name, command in _commands().items() if not hasattr(command, "commands")}
    shown = set(
        re.findall(r"^## `orch ([a-z -]+?)(?: [^a-z`][^`]*)?`", _text(DOCS / "reference/cli.md"), re.MULTILINE)
    )
    assert shown == leaves


def test_every_setting_that_is_named_exists() -> None:
    known = set(config.setting_names())
    for page in PAGES:
        for name in re.findall(r"\bORCH_[A-Z_]+[A-Z]\b", _text(page)):
            is_for_tests = name.startswith("ORCH_TEST_")
            assert name in known or is_for_tests, f"{_name(page)} names {name}, which is no setting"


# --- reference pages


def _settings_page_rows() -> Iterator[str]:
    """The rows that docs/reference/settings.md must have, in order, a heading before each group."""
    group = ""
    for name, field in config.Settings.model_fields.items():
        extra = field.json_schema_extra
        assert isinstance(extra, dict)
        if extra["group"] != group:
            group = str(extra["group"])
            yield f"## {group}"
        variable = config.PREFIX + name.upper()
        is_secret = f"{variable}_FILE" in config.setting_names()
        unit = "secret" if is_secret else str(extra["unit"])
        default = "" if field.default in (None, ()) else f"`{field.default}`"
        yield f"| `{variable}` | {unit} | {default} | {field.description} |"


def test_the_settings_page_says_what_the_settings_say() -> None:
    text = _text(DOCS / "reference/settings.md")
    shown = [line for line in text.splitlines() if line.startswith(("## ", "| `"))]
    expected = list(_settings_page_rows())
    assert shown == expected, "docs/reference/settings.md must hold exactly:\n" + "\n".join(expected)


def _served() -> set[str]:
    """Every endpoint: those of the OpenAPI, and those in front of it."""
    orchestrator = main.build(config.load({}, None), Directory())
    try:
        front = main.asgi(orchestrator)
        paths = orchestrator.api().openapi()["paths"]
        described = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
        return described | {f"POST {path}" for path in front._open_routes} | {"GET /health", "GET /openapi.json"}
    finally:
        orchestrator.database.close()


def test_the_http_page_shows_every_endpoint_and_no_other() -> None:
    shown = re.findall(r"^### `([A-Z]+ /\S*)`", _text(DOCS / "reference/http.md"), re.MULTILINE)
    assert len(shown) == len(set(shown))
    assert set(shown) == _served()


async def test_the_metrics_page_shows_every_metric_with_its_kind_and_its_labels(tmp_path: Path) -> None:
    async with house(tmp_path) as (_, client):
        text = (await client.get("/metrics")).text
    served = dict(re.findall(r"^# TYPE (\S+) (\w+)$", text, re.MULTILINE))
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|([^|]*)\|", _text(DOCS / "reference/metrics.md"), re.MULTILINE)
    assert {name: kind for name, kind, _ in rows} == served
    labels = {name: set(INLINE.findall(cell)) for name, _, cell in rows}
    for name, found in re.findall(r"^(orchestrator_\w+)\{([^}]*)\}", text, re.MULTILINE):
        if not name.endswith("_bucket"):
            assert set(re.findall(r"(\w+)=", found)) == labels[name], name


def test_the_data_page_shows_every_table_with_its_columns() -> None:
    text = _text(DOCS / "reference/data.md")
    for table in metadata.tables.values():
        section = text.partition(f"### `{table.name}`\n")[2].partition("\n#")[0]
        assert set(INLINE.findall(section)) >= set(table.columns.keys()), f"table {table.name}"


def _codes_of(text: str) -> set[str]:
    """The first cell of each row; several codes may share one."""
    cells = re.findall(r"^\| (`[^|]*`) \|", text, re.MULTILINE)
    return {code for cell in cells for code in INLINE.findall(cell)}


def test_the_page_about_waiting_tasks_explains_every_reason() -> None:
    shown = _codes_of(_text(DOCS / "how-to/when-a-task-waits.md"))
    assert set(ITEMS) <= set(shown)


def test_the_glossary_has_every_stage_role_and_outcome() -> None:
    named = set(INLINE.findall(_text(DOCS / "glossary.md")))
    assert {one.value for kind in (Stage, Role, Outcome) for one in kind} <= named


def test_every_orchestrator_yaml_that_is_shown_can_be_used() -> None:
    shown = 0
    for page in PAGES:
        for _, language, block in BLOCK.findall(_text(page)):
            if language == "yaml" and re.search(r"^ *projects:", block, re.MULTILINE):
                shown += 1
                assert configfile.parse(block, _name(page)).projects
    assert shown


def _values(schema: Mapping[str, Any]) -> str:
    match schema:
        case {"enum": names}:
            return ", ".join(f"`{one}`" for one in names)
        case {"minimum": least, "maximum": most}:
            return f"{least} to {most}"
        case {"type": "array"}:
            return "a list"
        case {"type": "boolean"}:
            return "`true`, `false`"
        case _:
            return ""


def _default(schema: Mapping[str, Any]) -> str:
    match schema.get("default"):
        case None | "" | []:
            return ""
        case list():
            return "see below"
        case bool() as truth:
            return f"`{str(truth).lower()}`"
        case other:
            return f"`{other}`"


def _option_rows() -> Iterator[str]:
    """The rows that docs/reference/orchestrator-yaml.md must have, in order."""
    check = Check("", configfile.schema())
    for name in ("project", "trigger", "gates", "documents", "states", "person"):
        part = configfile.schema()["$defs"][name]
        for key, given in part["properties"].items():
            option = check.resolved(given)
            needed = "yes" if key in part.get("required", ()) else ""
            cells = (f"`{key}`", needed, _default(option), _values(option), option["description"])
            yield f"| {' | '.join(cells)} |".replace("  ", " ")


def test_the_page_about_the_configuration_file_says_what_its_schema_says() -> None:
    text = _text(DOCS / "reference/orchestrator-yaml.md")
    shown = [line for line in text.splitlines() if line.startswith("| `")]
    expected = list(_option_rows())
    assert shown == expected, "docs/reference/orchestrator-yaml.md must hold exactly:\n" + "\n".join(expected)
    assert set(PROTECTED_PATHS) <= set(INLINE.findall(text))


def test_the_shipped_example_of_the_configuration_file_names_every_option() -> None:
    text = _text(ROOT / "orchestrator.yaml.example")
    for name in ("project", "gates", "documents", "person"):
        for key in configfile.schema()["$defs"][name]["properties"]:
            assert re.search(rf"^ *(- |# ?)?{key}:", text, re.MULTILINE), key


# --- decisions


def test_decisions_are_numbered_without_a_gap_and_dated() -> None:
    files = sorted((DOCS / "adr").glob("[0-9]*.md"))
    assert [file.name[:4] for file in files] == [f"{number:04}" for number in range(1, len(files) + 1)]
    for file in files:
        text = _text(file)
        assert text.startswith(f"# {int(file.name[:4])}. ")
        assert re.search(r"^(Accepted|Superseded by .+), \d{4}-\d\d-\d\d\.$", text, re.MULTILINE), file.name


def test_the_fragments_are_named_as_contributing_says() -> None:
    kinds = "added|changed|fixed|removed|security"
    assert f"`<issue>.<what>.<{kinds}>.md`" in _text(ROOT / "CONTRIBUTING.md")
    named = re.compile(rf"[0-9]+(\.[a-z-]+)?\.({kinds})\.md")
    assert [one.name for one in (ROOT / "changelog.d").iterdir() if not named.fullmatch(one.name)] == []

"""orchestrator.yaml's schema, its reader and the values that come of it say the same."""

import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.configfile import ConfigFault, effective, parse, schema
from orchestrator.domain.model import (
    PROTECTED_PATHS,
    DocumentFiles,
    GateOptions,
    Person,
    Project,
    Stage,
    Trigger,
    TriggerKind,
    UserId,
)
from orchestrator.yamlcheck import KEYWORDS, Check
from support import ROOT

UUID = "df602150-b31b-4706-9b31-c91c962460d7"
OTHER = "00000000-b31b-4706-9b31-c91c962460d7"
LEAST = {"plane_project": UUID, "repository": "acme/enduro-trails"}
FULL = {
    **LEAST,
    "base_branch": "develop",
    "language": "ru",
    "trigger": {"state": "Ready"},
    "gates": {
        "review": "both",
        "approvals": 2,
        "ci": "none",
        "required_contexts": ["ci/*"],
        "check_creators": ["gitea-actions", "ci[bot]"],
        "protected_paths": ["deploy/**"],
        "returns_per_cause": 1,
        "returns_in_all": 0,
    },
    "documents": {"brd": "BT.md", "architecture": "ARCH.md", "dev_task": "TASK.md", "dev_report": "REPORT.md"},
    "states": {stage.value: f"Столбец {stage.value}" for stage in Stage},
}
FILE = {
    "projects": [FULL],
    "people": [{"plane_user": OTHER, "gitea_login": "alice", "approver": True, "admin": True}],
}


def _project(**given: object) -> Project:
    return parse(yaml.safe_dump({"projects": [{**LEAST, **given}]})).projects[0]


def _faults(value: object) -> list[str]:
    try:
        parse(yaml.safe_dump(value, allow_unicode=True))
    except ConfigFault as fault:
        return fault.faults
    return []


# --- the schema


def _parts(part: Any) -> Iterator[Mapping[str, Any]]:
    """Every subschema."""
    yield part
    inner = [*part.get("properties", {}).values(), *part.get("$defs", {}).values(), *part.get("oneOf", ())]
    for one in [*inner, *([part["items"]] if "items" in part else [])]:
        yield from _parts(one)


def test_the_schema_is_one_and_uses_only_what_the_reader_knows() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    for part in _parts(schema()):
        assert set(part) <= KEYWORDS, part
        assert part.get("additionalProperties", False) is False
        assert "pattern" not in part or (part["pattern"][0], part["pattern"][-1]) == ("^", "$")
        assert ("minimum" in part) == ("maximum" in part)
        assert part.get("type") != "object" or {"title", "description", "additionalProperties"} <= set(part)
        assert part.get("type") != "array" or "maxItems" in part


def _options(name: str) -> Mapping[str, Mapping[str, Any]]:
    check = Check("", schema())
    return {key: check.resolved(part) for key, part in schema()["$defs"][name]["properties"].items()}


@pytest.mark.parametrize(("name", "made"), [("gates", GateOptions()), ("documents", DocumentFiles())])
def test_options_and_defaults_are_those_of_the_values(name: str, made: Any) -> None:
    options = _options(name)
    assert list(options) == [one.name for one in fields(made)]
    for key, option in options.items():
        value = getattr(made, key)
        assert option["default"] == (list(value) if isinstance(value, tuple) else value), key


def test_the_rest_of_the_schema_is_that_of_the_values_too() -> None:
    project = _project()
    options = _options("project")
    assert options["base_branch"]["default"] == project.base_branch
    assert options["language"]["default"] == project.language
    assert options["trigger"]["default"] == Trigger().kind
    assert set(_options("trigger")) == {kind.value for kind in TriggerKind} - {"new_item"}
    assert list(_options("states")) == [stage.value for stage in Stage]
    assert list(_options("person")) == [one.name for one in fields(Person)]
    assert all(option["description"] for name in schema()["$defs"] for option in _described(name))


def _described(name: str) -> Iterator[Mapping[str, Any]]:
    if "properties" in schema()["$defs"][name]:
        yield from _options(name).values()


def test_the_schema_is_in_the_wheel(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    inside = zipfile.ZipFile(wheel).read("orchestrator/schemas/orchestrator.schema.json")
    assert json.loads(inside) == schema()


# --- the reader


def test_every_option_is_read() -> None:
    (project,) = parse(yaml.safe_dump(FILE)).projects
    assert effective(parse(yaml.safe_dump(FILE))) == FILE
    assert project.gates.check_creators == ("gitea-actions", "ci[bot]")
    assert project.states[0] == (Stage.CREATED, "Столбец created")
    assert project.documents.brd == "BT.md"


def test_what_is_left_out_has_its_default() -> None:
    assert (_project().gates, _project().documents, _project().states) == (GateOptions(), DocumentFiles(), ())
    assert parse(yaml.safe_dump({"people": [{"plane_user": OTHER}]})).people == (Person(UserId(OTHER), ""),)
    assert _project(gates=None, documents=None, states=None, base_branch=None) == _project()


def test_protected_paths_replace_the_default_or_add_to_it() -> None:
    assert _project(gates={"protected_paths": ["a/**"]}).gates.protected_paths == ("a/**",)
    added = _project(gates={"protected_paths": ["+a/**", "+Jenkinsfile"]})
    assert added.gates.protected_paths == (*PROTECTED_PATHS, "a/**")
    assert _project(gates={"protected_paths": []}).gates.protected_paths == ()
    assert _project(gates={"protected_paths": None}).gates.protected_paths == PROTECTED_PATHS


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"gates": {"review": "nobody"}}, "is not one of agent, human, both"),
        ({"gates": {"approvals": 0}}, "between 1 and 20"),
        ({"gates": {"approvals": True}}, "not a whole number"),
        ({"gates": {"approvals": "2"}}, "not a whole number"),
        ({"gates": {"returns_per_cause": 21}}, "between 0 and 20"),
        ({"gates": {"returns_in_all": -1}}, "between 0 and 100"),
        ({"gates": {"required_contexts": "ci"}}, "a list"),
        ({"gates": {"required_contexts": [""]}}, "not a name"),
        ({"gates": {"required_contexts": [1.5]}}, "in quotes"),
        ({"gates": {"required_contexts": ["x"] * 101}}, "more than 100"),
        ({"gates": {"required_contexts": ["x" * 256]}}, "longer than 255"),
        ({"gates": {"check_creators": ["a b"]}}, "not a login"),
        ({"gates": {"check_creators": [""]}}, "not a login"),
        ({"gates": {"protected_paths": ["+a", "b"]}}, "either every entry"),
        ({"gates": {"protected_paths": ["/etc"]}}, "not a glob"),
        ({"gates": {"protected_paths": ["+"]}}, "not a glob"),
        ({"gates": {"reviews": "agent"}}, "unknown"),
        ({"documents": {"brd": "../BRD.md"}}, "not a file name"),
        ({"documents": {"brd": ".git"}}, "not a file name"),
        ({"documents": {"brd": "a\n"}}, "not a file name"),
        ({"documents": {"brd": "dev_task.md"}}, "'dev_task.md'"),
        ({"states": {"анализ": "x"}}, "unknown"),
        ({"states": {"ci": " "}}, "not a name"),
        ({"states": {"ci": "a\x00"}}, "not a name"),
        ({"trigger": {"assignee": "alice"}}, "not a uuid"),
        ({"trigger": {}}, "new_item"),
        ({"trigger": "label"}, "new_item"),
        ({"trigger": ["label"]}, "new_item"),
        ({"base_branch": "main\n"}, "not a branch name"),
        ({"repository": "../x"}, "owner/name"),
        ({"repository": "a/.."}, "owner/name"),
    ],
)
def test_a_wrong_option_is_refused(given: Mapping[str, Any], says: str) -> None:
    faults = _faults({"projects": [{**LEAST, **given}]})
    assert len(faults) == 1, faults
    assert says in faults[0]


ODD = st.sampled_from(
    [None, True, 0, 1, 20, 21, 101, -1, 1.5, "", "x", "main", "-x", "a..b", "x" * 300, "new_item", "agent", "both",
     "none", "ru", "acme/x", "a/..", "../b", "é", "a b", "+x", "/x", UUID, OTHER, UUID.upper(), "yes", "1", [], {},
     ["x"], ["a b", ""], ["+x"], [1], {"label": "x"}, {"label": "x", "state": "y"}, {"assignee": UUID}]
)  # fmt: skip
NAMES = sorted({key for part in _parts(schema()) for key in part.get("properties", {})})


@st.composite
def spoiled(draw: st.DrawFn) -> dict[str, Any]:
    """The full file with a few values and keys of it changed."""
    value: dict[str, Any] = json.loads(json.dumps(FILE))
    for _ in range(draw(st.integers(1, 3))):
        place: Any = draw(st.sampled_from([value, *_inner(value)]))
        place[draw(st.sampled_from([*place, *NAMES]))] = json.loads(json.dumps(draw(ODD)))
        if place and draw(st.booleans()):
            del place[draw(st.sampled_from(list(place)))]
    return value


def _inner(value: Any) -> Iterator[Any]:
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        if isinstance(one, dict):
            yield one
        yield from _inner(one)


@settings(deadline=None)
@given(spoiled())
def test_the_reader_refuses_what_a_json_schema_library_refuses(value: dict[str, Any]) -> None:
    """A known key without a value is as if it were not there, which an editor may complain about."""
    text = yaml.safe_dump(value)
    library = jsonschema.Draft202012Validator(schema())
    check = Check("x", schema())
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    assert node is not None
    check.value(node, schema(), "the file")
    if not library.is_valid(_without_nulls(value)):
        assert check.faults
        assert _faults(value)
    if check.faults:
        assert not library.is_valid(value), check.faults
    _faults(value)  # never another exception


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(one) for key, one in value.items() if one is not None}
    return [_without_nulls(one) for one in value] if isinstance(value, list) else value


def test_hostile_yaml_is_a_fault_and_no_crash() -> None:
    for text in (
        "projects: &a [*a]",
        "&a {projects: *a}",
        "? [a]\n: b",
        "projects: [{<<: {plane_project: x}}]",
        "!!python/object/apply:os.system ['true']",
        "projects: !!python/name:os.system",
        "[" * 5000,
        "{" * 5000,
    ):
        with pytest.raises(ConfigFault):
            parse(text)

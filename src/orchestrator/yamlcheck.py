"""Checks YAML against a JSON Schema, and tells each fault with its line.

The part of JSON Schema that our schema uses, walked over YAML's nodes: a library judges values, which have lost
their lines and the keys that stand twice, and would cost every start a tenth of a second. A test compares the two.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import yaml

Schema = Mapping[str, Any]
KEYWORDS = frozenset(
    {
        "$defs", "$ref", "$schema", "additionalProperties", "default", "description", "enum", "errorMessage",
        "items", "maxItems", "maxLength", "maxProperties", "maximum", "minLength", "minProperties", "minimum",
        "oneOf", "pattern", "properties", "required", "title", "type",
    }
)  # fmt: skip
"""All that a schema given to Check may use; `errorMessage` is an editor's word for what is wrong."""
_NULL, _STR, _INT, _BOOL = (f"tag:yaml.org,2002:{name}" for name in ("null", "str", "int", "bool"))
_TRUTH = yaml.SafeLoader.bool_values
_DECIMAL = re.compile(r"[-+]?[0-9]{1,18}", re.ASCII)
_SHOWN = 60


def is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == _NULL


@dataclass(slots=True)
class Check:
    """Gathers every fault instead of stopping at the first. `root` is the whole schema."""

    name: str
    root: Schema
    faults: list[str] = field(default_factory=list)

    def fault(self, node: yaml.Node, text: str) -> None:
        self.faults.append(f"{self.name}:{node.start_mark.line + 1}: {text}")

    def value(self, node: yaml.Node, schema: Schema, what: str) -> Any:
        """What the node says, as Python has it; None for what is wrong. A mapping lacks its wrong entries."""
        schema = self.resolved(schema)
        if "oneOf" in schema:
            return self._one_of(node, schema, what)
        match schema["type"]:
            case "object":
                return self._mapping(node, schema)
            case "array":
                return self._list(node, schema, what)
            case _:
                return self._scalar(node, schema, what)

    def resolved(self, schema: Schema) -> Schema:
        """With what it refers to; words of its own are stronger."""
        while "$ref" in schema:
            found = self.root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
            schema = {**found, **{key: value for key, value in schema.items() if key != "$ref"}}
        return schema

    def _one_of(self, node: yaml.Node, schema: Schema, what: str) -> Any:
        """The alternatives differ in type, so the node's kind says which of them is meant."""
        wanted = "object" if isinstance(node, yaml.MappingNode) else "string"
        fitting = [one for one in map(self.resolved, schema["oneOf"]) if one["type"] == wanted]
        inner = Check(self.name, self.root)
        value = inner.value(node, fitting[0], what)
        if inner.faults and wanted == "string":
            self.fault(node, f"{what} {schema['errorMessage']}")
        else:
            self.faults += inner.faults
        return value

    def _mapping(self, node: yaml.Node, schema: Schema) -> dict[str, Any]:
        what = str(schema["title"])
        if not isinstance(node, yaml.MappingNode):
            self.fault(node, f"{what} must be a mapping")
            return {}
        entries = self._entries(node, schema["properties"], what)
        for name in schema.get("required", ()):
            if name not in entries:
                self.fault(node, f"{name} is missing")
        if not schema.get("minProperties", 0) <= len(entries) <= schema.get("maxProperties", len(entries)):
            self.fault(node, f"{what} {schema['errorMessage']}")
        made = {name: self.value(value, schema["properties"][name], name) for name, value in entries.items()}
        return {name: value for name, value in made.items() if value is not None}

    def _entries(self, node: yaml.MappingNode, known: Schema, what: str) -> dict[str, yaml.Node]:
        """A key without a value is as if it were not there."""
        entries: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else "?"
            if name not in known:
                names = ", ".join(sorted(known))
                self.fault(key, f"{name[:_SHOWN]!r} is unknown here; known are {names} ({what})")
            elif name in entries:
                self.fault(key, f"{name!r} stands twice ({what})")
            else:
                entries[name] = value
        return {name: value for name, value in entries.items() if not is_null(value)}

    def _list(self, node: yaml.Node, schema: Schema, what: str) -> list[Any] | None:
        if not isinstance(node, yaml.SequenceNode):
            self.fault(node, f"{what}: a list is wanted here")
            return None
        if len(node.value) > schema["maxItems"]:
            self.fault(node, f"{what}: more than {schema['maxItems']} entries")
            return None
        return [self.value(one, schema["items"], what) for one in node.value]

    def _scalar(self, node: yaml.Node, schema: Schema, what: str) -> object:
        if not isinstance(node, yaml.ScalarNode):
            self.fault(node, f"{what}: a single value is wanted here")
            return None
        value, wrong = _READ[schema["type"]](node)
        if wrong is None:
            wrong = next(
                (text for rule, text in _RULES if rule in schema and not _holds(rule, schema, value)), None
            )
        if wrong is None:
            return value
        shown = repr(node.value[:_SHOWN])
        self.fault(node, f"{what}: {shown} {wrong.format_map(_told(schema))}")
        return None


_Reading = tuple[object, str | None]


def _text(node: yaml.ScalarNode) -> _Reading:
    return node.value, None if node.tag == _STR else "is no text as it stands: put it in quotes"


def _integer(node: yaml.ScalarNode) -> _Reading:
    is_one = node.tag == _INT and _DECIMAL.fullmatch(node.value)
    return (int(node.value), None) if is_one else (None, "is not a whole number")


def _truth(node: yaml.ScalarNode) -> _Reading:
    is_one = node.tag == _BOOL
    return (_TRUTH[node.value.lower()], None) if is_one else (None, "is neither true nor false")


_READ: Mapping[str, Callable[[yaml.ScalarNode], _Reading]] = {
    "string": _text,
    "integer": _integer,
    "boolean": _truth,
}
_RULES: Sequence[tuple[str, str]] = (
    ("enum", "is not one of {enum}"),
    ("minLength", "{errorMessage}"),
    ("maxLength", "is longer than {maxLength} characters"),
    ("pattern", "{errorMessage}"),
    ("minimum", "must be between {minimum} and {maximum}"),
    ("maximum", "must be between {minimum} and {maximum}"),
)


def _told(schema: Schema) -> dict[str, str]:
    return {key: ", ".join(value) if key == "enum" else str(value) for key, value in schema.items()}


def _holds(rule: str, schema: Schema, value: Any) -> bool:
    bound = schema[rule]
    match rule:
        case "enum":
            return value in bound
        case "pattern":
            return _pattern(bound).fullmatch(value) is not None
        case "minLength":
            return len(value) >= int(bound)
        case "maxLength":
            return len(value) <= int(bound)
        case "minimum":
            return bool(value >= bound)
        case _:
            return bool(value <= bound)


@lru_cache(maxsize=64)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text)

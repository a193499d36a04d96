"""What in an answer of ours could act, or move a terminal: by parsing it, as a browser would begin to."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser

_RAW = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Controls, C0 and C1, but for line ends and tabs; marks that turn the direction; half characters."""
_ELEMENTS = frozenset(
    {"iframe", "object", "embed", "base", "applet", "frame", "frameset", "portal", "style", "math"}
)
_ATTRIBUTES = frozenset({"style", "srcdoc", "formaction", "background", "ping", "xlink:href"})
_ADDRESSES = frozenset({"href", "src", "action", "poster", "data", "cite", "srcset", "sse-connect"})
_HARMLESS = re.compile(r"/(?![/\\])|\?|#|https?://|$", re.IGNORECASE)
_NOT_SEEN = re.compile(r"[\x00-\x20]")


class _Reader(HTMLParser):
    def __init__(self, root: str) -> None:
        super().__init__(convert_charrefs=True)
        self.faults: list[str] = []
        self.texts: list[str] = []
        self._root = root
        self._is_in_script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag in _ELEMENTS:
            self._fault(f"<{tag}>")
        if tag == "script":
            self._is_in_script = True
            if not values.get("src", "").startswith(f"{self._root}/static/"):
                self._fault(f"a script from {values.get('src', 'the page itself')[:60]}")
        if tag == "link" and not values.get("href", "").startswith(f"{self._root}/static/"):
            self._fault(f"a link to {values.get('href', '')[:60]}")
        if tag == "meta" and "http-equiv" in values:
            self._fault("a meta that acts")
        if len(values) != len(attrs):
            self._fault(f"an attribute of <{tag}> twice")
        for name, value in values.items():
            self._attribute(tag, name, value)

    def handle_endtag(self, tag: str) -> None:
        self._is_in_script = self._is_in_script and tag != "script"

    def handle_data(self, data: str) -> None:
        if self._is_in_script and data.strip():
            self._fault("a script with text")
        self._text("the text", data)

    def handle_comment(self, data: str) -> None:
        self._fault(f"a comment: {data[:60]}")

    def unknown_decl(self, data: str) -> None:
        self._fault(f"a declaration: {data[:60]}")

    def handle_pi(self, data: str) -> None:
        self._fault(f"an instruction: {data[:60]}")

    def _attribute(self, tag: str, name: str, value: str) -> None:
        bare = name.removeprefix("data-")
        if bare.startswith(("on", "hx-on")) or bare in _ATTRIBUTES:
            self._fault(f"{name} at <{tag}>")
        if (bare in _ADDRESSES or bare.startswith("hx-")) and _is_program(value):
            self._fault(f"{name}={value[:60]!r} at <{tag}>")
        if bare in _ADDRESSES and not _HARMLESS.match(_NOT_SEEN.sub("", value)):
            self._fault(f"{name}={value[:60]!r} at <{tag}>")
        self._text(f"{name} at <{tag}>", value)

    def _text(self, where: str, text: str) -> None:
        self.texts.append(text)
        if found := _RAW.search(text):
            around = text[max(0, found.start() - 30) : found.end() + 30]
            self._fault(f"raw {ord(found[0]):#x} in {where}: {around!r}")

    def _fault(self, what: str) -> None:
        self.faults.append(what)


def _is_program(value: str) -> bool:
    bare = _NOT_SEEN.sub("", value).lower()
    return bare.startswith(("javascript:", "vbscript:", "data:text", "data:image/svg"))


def of_page(html: str, root: str = "") -> list[str]:
    """Each thing that should not be there. `root`: the prefix of our own addresses."""
    return _read(html, root).faults


def shown(html: str) -> str:
    """All that a page has as text, attributes as well."""
    return "\n".join(_read(html, "").texts)


def of_text(text: str) -> Iterator[str]:
    """Of an answer that is no page: what a terminal would obey, if somebody printed it."""
    for found in _RAW.finditer(text):
        yield f"raw {ord(found[0]):#x}: {text[max(0, found.start() - 40) : found.end() + 40]!r}"


def _read(html: str, root: str) -> _Reader:
    reader = _Reader(root)
    reader.feed(html)
    reader.close()
    return reader

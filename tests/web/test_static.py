"""What every page loads, and what no template may hold: a strict policy needs both."""

import re
import tomllib
from pathlib import Path

import pytest
from scripts import vendor_static

from orchestrator import web
from orchestrator.domain.roles import Language
from orchestrator.web.caller import Scope
from orchestrator.web.catalogue import catalogue

TEMPLATES = sorted((Path(web.__file__).parent / "templates").rglob("*.html"))
STATIC = Path(web.__file__).parent / "static"
VENDOR = STATIC / "vendor"
PACKAGES = tomllib.loads((VENDOR / "vendor.toml").read_text(encoding="utf-8"))["package"]
HANDLER = re.compile(r"""\s(on[a-z]+|hx-on[:a-z-]*|style)=""", re.IGNORECASE)
SCRIPT = re.compile(r"<script\b([^>]*)>(.*?)</script>", re.IGNORECASE | re.DOTALL)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_no_template_has_a_style_a_handler_an_inline_script_or_a_way_around_escaping(template: Path) -> None:
    text = template.read_text(encoding="utf-8")
    assert not HANDLER.search(text), HANDLER.search(text)
    assert not re.search(r"<style\b|javascript:|\|\s*safe\b|autoescape|hx-vals|hx-vars|hx-headers=.js", text)
    for attributes, body in SCRIPT.findall(text):
        assert "src=" in attributes
        assert not body.strip()


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_every_form_that_changes_something_carries_the_token(template: Path) -> None:
    text = template.read_text(encoding="utf-8")
    for form in re.findall(r'<form[^>]*method="post".*?</form>', text, re.DOTALL):
        assert "csrf" in form, form[:200]


def test_what_is_vendored_is_what_the_list_says() -> None:
    assert list(vendor_static.faults(PACKAGES, VENDOR)) == []
    for package in PACKAGES:
        assert package["integrity"].startswith("sha512-")
        assert [one["to"] for one in package["file"] if "LICENSE" in one["to"]], "its licence is kept"


def test_a_vendored_file_that_was_changed_or_added_is_found(tmp_path: Path) -> None:
    for path in VENDOR.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "sse.min.js").write_bytes(b"changed")
    (tmp_path / "more.js").write_bytes(b"")
    (tmp_path / "htmx.LICENSE.txt").unlink()
    assert sorted(one.split()[0] for one in vendor_static.faults(PACKAGES, tmp_path)) == [
        "htmx.LICENSE.txt",
        "more.js",
        "sse.min.js",
    ]


@pytest.mark.parametrize("path", sorted(STATIC.glob("*.*")), ids=lambda path: path.name)
def test_no_file_of_ours_loads_anything_from_elsewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|//[a-z]+\.|@import|eval\(|\.innerHTML|document\.write", text)


def test_every_scope_has_words() -> None:
    for language in Language:
        assert {f"layout.scope_{one.name.lower()}" for one in Scope} <= set(catalogue(language))

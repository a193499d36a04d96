"""Globs of contexts and paths."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.model import PROTECTED_PATHS
from orchestrator.qg.globs import context_glob, is_plain, path_globs, plain_range


@pytest.mark.parametrize(
    ("pattern", "text", "is_match"),
    [
        ("ci/*", "ci/test/unit", True),
        ("ci/*", "xci/test", False),
        ("*", "", True),
        ("**", "a/b", True),
        ("a/**/z", "a/b/c/z", True),
        ("?i", "ci", True),
        ("?i", "ii i", False),
        ("?i", "/i", True),
        ("[a-c]i", "bi", True),
        ("[!a-c]i", "bi", False),
        ("[^x]", "^", True),
        ("[^x]", "x", True),
        ("[^x]", "X", False),
        (r"[\d]", "d", True),
        (r"[\d]", "1", False),
        ("[]", "[]", True),
        ("[z-a]", "[z-a]", True),
        ("{lint,test} (push)", "test (push)", True),
        ("{lint,test}", "lint,test", False),
        ("a,b", "a,b", True),
        ("{a", "{a", True),
        (r"{\}", "{}", True),
        (r"\{}", "{}", True),
        ("}a{", "}a{", True),
        (r"\*", "*", True),
        (r"\*", "x", False),
        ("CI / t (x)", "CI / t (x)", True),
        ("ci*/x", "ci1/x", True),
        ("***/x", "a/b/x", True),
        ("a.b", "axb", False),
        ("{a,{b,c}}d", "cd", True),
        ("\\", "\\", True),
    ],
)
def test_contexts_match_as_the_forge_matches_them(pattern: str, text: str, is_match: bool) -> None:
    assert bool(context_glob(pattern).fullmatch(text)) is is_match


@pytest.mark.parametrize(
    "path",
    [
        ".gitea/workflows/ci.yml",
        ".github",
        ".woodpecker.yml",
        ".woodpecker.yaml",
        "jenkinsfile",
        ".claude",
        ".claude/settings.json",
        "a/b/.claude/x",
        "a/claude.md",
        "claude.md",
        ".mcp.json",
        "deep/down/.mcp.json",
        ".openclaw/agents/developer.md",
        ".drone.yml",
    ],
)
def test_protected_paths_are_found(path: str) -> None:
    assert path_globs(PROTECTED_PATHS).fullmatch(path)


@pytest.mark.parametrize(
    "path", ["src/app.py", "docs/.gitea.md", "x/.gitea/y", "claude", "a.claude/x", "src/jenkinsfile", "xclaude.md"]
)
def test_other_paths_are_not(path: str) -> None:
    assert not path_globs(PROTECTED_PATHS).fullmatch(path)


def test_a_star_stays_in_its_folder_and_a_question_mark_is_no_slash() -> None:
    assert not path_globs(("a/*.py",)).fullmatch("a/b/c.py")
    assert not path_globs(("a?b",)).fullmatch("a/b")
    assert path_globs(("a?b",)).fullmatch("a-b")
    assert path_globs(("a/*.py",)).fullmatch("a/b.py")
    assert not path_globs(("a",)).fullmatch("a/b")
    assert path_globs(("a/**/c",)).fullmatch("a/c")
    assert path_globs(("a**c",)).fullmatch("a/b/c")


def test_no_pattern_matches_nothing() -> None:
    assert not path_globs(()).fullmatch("")


@given(st.text(alphabet="ab/*?{},\\.!", max_size=12), st.text(alphabet="ab/", max_size=6))
def test_any_pattern_compiles_and_a_plain_one_is_itself(pattern: str, text: str) -> None:
    context_glob(pattern).fullmatch(text)
    path_globs((pattern,)).fullmatch(text)
    if is_plain(pattern):
        assert context_glob(pattern).fullmatch(pattern)


@settings(max_examples=400, deadline=None)
@given(st.text("ab*?[!]{},\\/", max_size=6), st.text("ab*[{/", max_size=5))
def test_whatever_fits_lies_in_the_plain_range(pattern: str, context: str) -> None:
    begin, end = plain_range(pattern)
    for text in (context, pattern, begin + context, begin):
        assert not context_glob(pattern).fullmatch(text) or begin <= text < end or not begin


def test_the_plain_range_is_as_narrow_as_it_can_be() -> None:
    patterns = ("ci/lint*", "ci/te?t", "ci", "*", "a{b,c}", "[a]")
    assert [plain_range(one) for one in patterns] == [
        ("ci/lint", "ci/linu"), ("ci/te", "ci/tf"), ("ci", "cj"), ("", ""), ("a", "b"), ("", ""),
    ]  # fmt: skip


def test_the_last_of_all_characters_has_none_after_it() -> None:
    assert plain_range("a\U0010ffff*") == ("a", "b")
    assert plain_range("\U0010ffff*") == ("", "")


def test_patterns_for_any_folder_and_for_the_root_stand_side_by_side() -> None:
    globs = path_globs(("**/CLAUDE.md", "ci/**", "**/.x/**"))
    fits = ("claude.md", "a/b/claude.md", "ci", "ci/a", ".x", "a/.x/b/c")
    assert all(globs.fullmatch(one) for one in fits)
    assert not any(
        globs.fullmatch(one) for one in ("a/ci/b", "claude.mdx", "a/b.x/c", "xclaude.md", "a/xclaude.md")
    )

"""Commands in comments: exact, bounded, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from green import remark
from orchestrator.qg.commands import Approve, Misspelt, Order, Reject, Verb, commands
from orchestrator.qg.facts import newer


@pytest.mark.parametrize("line", [":approved:", "  :approved:  ", "\t:approved:"])
def test_approval_alone_on_its_line_is_one(line: str) -> None:
    assert commands(("Looks fine.", line)) == (Approve(),)


@pytest.mark.parametrize(
    "line",
    [
        ":approved: but",
        "not :approved:",
        ":approved",
        ":Approved:",
        "approved",
        ":approved::approved:",
        ":арproved:",
        ": approved :",
        "`:approved:`",
        "> :approved:",
        "\u200b:approved:",
        "/orchestra status",
        "/",
        ":",
    ],
)
def test_what_only_looks_like_a_command_is_none(line: str) -> None:
    assert commands((line,)) == ()


def test_a_rejection_has_the_rest_of_the_comment_as_its_reason() -> None:
    assert commands((":rejected: no figures", "in section 3")) == (Reject("no figures\nin section 3"),)
    assert commands((":rejected:",)) == (Reject(""),)


def test_a_long_reason_is_cut() -> None:
    (said,) = commands((":rejected: " + "x" * 100_000,))
    assert isinstance(said, Reject)
    assert len(said.why) == 4000


@pytest.mark.parametrize("verb", sorted(set(Verb) - {Verb.BUDGET, Verb.ALLOW_PATHS}))
def test_plain_orders(verb: Verb) -> None:
    assert commands((f"/orch {verb}",)) == (Order(verb),)
    assert commands((f"  /orch   {verb.upper()} ",)) == (Order(verb),)
    assert commands((f"/orch {verb} now",)) == (Misspelt(f"/orch {verb} now"),)


@pytest.mark.parametrize(
    ("line", "order"),
    [
        ("/orch budget 20", Order(Verb.BUDGET, "20")),
        ("/orch allow-paths ABCDEF0", Order(Verb.ALLOW_PATHS, "abcdef0")),
        ("/orch allow-paths " + "a" * 40, Order(Verb.ALLOW_PATHS, "a" * 40)),
        ("/orch allow-paths " + "a" * 64, Order(Verb.ALLOW_PATHS, "a" * 64)),
    ],
)
def test_orders_with_an_argument(line: str, order: Order) -> None:
    assert commands((line,)) == (order,)


@pytest.mark.parametrize(
    "line",
    [
        "/orch",
        "/orch explode",
        "/orch budget",
        "/orch budget 0",
        "/orch budget -1",
        "/orch budget 1e9",
        "/orch budget 100000",
        "/orch budget 20 30",
        "/orch budget 20 30 40 50",
        "/orch " + "x" * 100,
        "/orch allow-paths abcdef",
        "/orch allow-paths main",
        "/orch allow-paths --force",
        "/orch allow-paths " + "a" * 41,
        "/orch allow-paths " + "a" * 63,
        "/orch allow-paths " + "a" * 65,
    ],
)
def test_a_misspelt_order_is_told_apart(line: str) -> None:
    assert commands((line,)) == (Misspelt(line[:80]),)


def test_only_the_first_commands_of_a_comment_are_read() -> None:
    assert commands(("/orch pause",) * 30) == (Order(Verb.PAUSE),) * 10


@given(st.lists(st.sampled_from(["/orch pause", ":approved:", "text", ":rejected: x", "/orch x"]) | st.text()))
def test_any_comment_gives_a_bounded_number_of_commands(lines: list[str]) -> None:
    assert len(commands(tuple(lines))) <= 10


@given(st.lists(st.integers(1, 20), unique=True).map(sorted), st.integers(0, 21))
def test_newer_remarks_are_those_of_a_greater_order(orders: list[int], order: int) -> None:
    remarks = tuple(remark(one) for one in orders)
    assert newer(remarks, order) == tuple(one for one in remarks if one.order > order)

"""Any facts at all: strategies for tasks and snapshots, hostile ones included."""

from dataclasses import replace

from hypothesis import strategies as st

from green import (
    ANNA,
    ARCHITECTURE,
    BORIS,
    BRD,
    DEV_TASK,
    GREEN,
    HEAD,
    ITEM,
    NEW_TASK,
    OLD,
    OURSELF,
    PROJECT,
    PULL,
    REPORT,
    RULES,
    STRANGER,
    TASK,
    US,
)
from orchestrator.domain.feedback import Feedback
from orchestrator.domain.forge import BranchRules, Check, CheckState, Review, ReviewState
from orchestrator.domain.model import Branch, Cause, CiPolicy, Return, ReviewPolicy, Stage, Switches
from orchestrator.domain.roles import Role
from orchestrator.domain.run import Outcome, RoleVerdict, RunState, VerdictWord
from orchestrator.domain.tracker import CommentId
from orchestrator.qg.facts import NOT_NEEDED, Absent, Facts, Remark, RunFact, Unobserved, Us

UNSEEN = st.sampled_from([NOT_NEEDED, Unobserved("forge_unreachable", "down")])
HEADS = st.sampled_from([HEAD, OLD])
TEXTS = st.text(max_size=20)
LINES = st.lists(
    st.sampled_from(
        [
            ":approved:",
            ":rejected: no",
            "/orch pause",
            "/orch resume",
            "/orch retry",
            "/orch cancel",
            "/orch why",
            "/orch budget 5",
            f"/orch allow-paths {HEAD[:9]}",
            "/orch",
            "text",
        ]
    )
    | TEXTS,
    max_size=3,
).map(tuple)
REMARKS = st.lists(
    st.builds(
        lambda order, person, is_untouched, lines: Remark(
            CommentId(f"k{order}"), person, order, is_untouched, lines
        ),
        st.integers(1, 60),
        st.sampled_from([ANNA, BORIS, STRANGER, OURSELF]),
        st.booleans(),
        LINES,
    ),
    max_size=6,
    unique_by=lambda one: one.order,
).map(lambda every: tuple(sorted(every, key=lambda one: one.order)))


def _document(green: object) -> st.SearchStrategy[object]:
    return st.builds(
        lambda seen, blank, ready, blob: replace(green, seen=seen, is_blank=blank, is_ready=ready, blob=blob),  # type: ignore[type-var]
        st.integers(1, 60),
        st.sampled_from([False, False, False, True]),
        st.booleans(),
        st.sampled_from("xyz"),
    )


DOCUMENTS = st.tuples(*(st.none() | _document(one) for one in (BRD, ARCHITECTURE, DEV_TASK, REPORT))).map(
    lambda every: tuple(one for one in every if one)
)
RUNS = st.lists(
    st.builds(
        RunFact,
        st.sampled_from(Stage),
        st.integers(1, 4),
        st.sampled_from([RunState.ENDED, RunState.ENDED, RunState.ENDED, RunState.RUNNING, RunState.INTENDED]),
        st.none() | st.sampled_from(Outcome),
        st.sampled_from(["", "no_commit", "no_verdict"]),
        st.none() | HEADS,
        st.none() | HEADS,
        st.none() | st.builds(RoleVerdict, st.sampled_from(VerdictWord), TEXTS),
    ),
    max_size=6,
    unique_by=lambda one: (one.stage, one.attempt),
).map(tuple)
REVIEWS = st.lists(
    st.builds(
        Review,
        st.integers(1, 20),
        st.sampled_from(["rev-agent", "dev-agent", "vera", ""]),
        st.sampled_from(ReviewState),
        HEADS,
        st.booleans(),
        st.booleans(),
        st.booleans(),
        TEXTS,
    ),
    max_size=4,
).map(tuple)
CHECKS = st.lists(
    st.builds(
        Check,
        st.sampled_from(["ci/test", "ci/lint (push)", "orchestrator/gate"]),
        st.sampled_from(CheckState),
        st.sampled_from(["ci", "mallory"]),
        TEXTS,
        TEXTS,
        TEXTS,
    ),
    max_size=4,
).map(tuple)
PULLS = st.builds(
    lambda is_open, merged, draft, mergeable, head, author: replace(
        PULL, is_open=is_open, is_merged=merged, is_draft=draft, is_mergeable=mergeable, head=head, author=author
    ),
    st.sampled_from([True, True, True, False]),
    st.sampled_from([False, False, False, True]),
    st.booleans(),
    st.booleans(),
    HEADS,
    st.sampled_from(["dev-agent", "rev-agent", "vera"]),
)
USES = st.sampled_from([US, Us(), replace(US, reviewer=""), replace(US, reviewer="dev-agent")])
FACTS = st.builds(
    Facts,
    item=st.sampled_from(
        [ITEM, ITEM, ITEM, replace(ITEM, is_draft=True), replace(ITEM, is_archived=True), Absent()]
    )
    | UNSEEN,
    branch=HEADS.map(lambda head: Branch(TASK.branch, head)) | st.just(Absent()) | UNSEEN,
    runs=RUNS,
    max_attempts=st.integers(1, 3),
    documents=DOCUMENTS | UNSEEN,
    remarks=REMARKS | UNSEEN,
    changed_paths=st.sampled_from([("src/a.py",), (), (".gitea/ci.yml", "a.py")]) | UNSEEN,
    pull=PULLS | st.just(Absent()) | UNSEEN,
    rules=st.sampled_from([RULES, BranchRules(), BranchRules(("*",), 2)]) | UNSEEN,
    reviews=REVIEWS | UNSEEN,
    checks=CHECKS | UNSEEN,
    us=USES,
)
NEARLY_GREEN = st.builds(
    lambda facts, names: replace(GREEN, **{name: getattr(facts, name) for name in names}),
    FACTS,
    st.sets(
        st.sampled_from(
            [
                "item",
                "branch",
                "runs",
                "documents",
                "remarks",
                "changed_paths",
                "pull",
                "rules",
                "reviews",
                "checks",
                "us",
            ]
        ),
        max_size=3,
    ),
)
ANY_FACTS = NEARLY_GREEN | FACTS
RETURNS = st.lists(
    st.builds(
        Return,
        st.sampled_from(Cause),
        st.sampled_from([Stage.ANALYSIS, Stage.ARCHITECTURE, Stage.DEVELOPMENT]),
        HEADS,
        st.integers(0, 3),
        st.just(("e",)),
        st.just((Feedback("ci_red", "ci", "text"),)),
    ),
    max_size=9,
).map(tuple)
SWITCHES = st.builds(
    Switches,
    st.booleans(),
    st.booleans(),
    st.none() | st.sampled_from(Stage),
    st.integers(0, 4),
    st.integers(-1, 9),
    st.sampled_from([(), (HEAD,)]),
    st.integers(0, 9),
    st.integers(0, 60),
    st.integers(0, 60),
    st.sampled_from([(), ("k11",)]),
    st.sampled_from([(), ("k21",)]),
)
TASKS = st.builds(
    lambda stage, role, named, switches, returns, retry: replace(
        TASK if named else NEW_TASK, stage=stage, role=role, switches=switches, returns=returns, retry_after=retry
    ),
    st.sampled_from(Stage),
    st.sampled_from([None, None, None, *Role]),
    st.sampled_from([True, True, False]),
    st.just(Switches()) | SWITCHES,
    st.just(()) | RETURNS,
    st.sampled_from([0, 0, 1]),
)
PROJECTS = st.builds(
    lambda review, ci, approvals, creators: replace(
        PROJECT,
        gates=replace(PROJECT.gates, review=review, ci=ci, approvals=approvals, check_creators=creators),
    ),
    st.sampled_from(ReviewPolicy),
    st.sampled_from(CiPolicy),
    st.integers(1, 2),
    st.sampled_from([(), ("ci",)]),
)

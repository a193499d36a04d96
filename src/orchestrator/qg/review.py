"""QG-5: the head commit is approved by those whom the project asks, and nobody's last word is a change request."""

from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter

from orchestrator.domain.forge import BranchRules, PullRequest, Review, ReviewState
from orchestrator.domain.model import Project, ReviewPolicy, Sha, Stage, Task
from orchestrator.domain.run import VerdictWord
from orchestrator.qg import runs
from orchestrator.qg.facts import Facts, Unobserved
from orchestrator.qg.pull import branch_gone, head_of
from orchestrator.qg.unseen import unseen
from orchestrator.qg.verdict import Item, Unknown, Verdict, Waiting, by_login, closed, parted

_STATE = {
    VerdictWord.APPROVED: ReviewState.APPROVED,
    VerdictWord.CHANGES_REQUESTED: ReviewState.CHANGES_REQUESTED,
}
_NOBODY = ("", "ghost", "gitea-actions", "forgejo-actions")
"""Whom forges name where a user is gone; and as whom code runs in their CI, an agent's code above all."""
_PROGRAM = "[bot]"
"""How the names of programs end that integrate with forges."""
_SAYS_SO = (ReviewState.APPROVED, ReviewState.CHANGES_REQUESTED)
_ID = attrgetter("id")
MAX_IN_VAIN = 5
"""Approvals that do not count are named up to so many: where everybody may read, everybody may approve."""


def review_approved(project: Project, task: Task, facts: Facts) -> Verdict:
    """QG-5: approved on the head commit by policy, and nobody's last word is a change request.

    The agent's approval is a review by the reviewer's own user. Where that user is missing, or wrote the code
    or the pull request, people are asked instead: one user cannot approve its own work.
    """
    head = head_of(facts)
    if unknown := unseen(facts.branch, facts.pull, facts.reviews, facts.rules):
        said = (_agents_word(facts, head),) if head and asks_agent(project) else ()
        return Unknown(unknown, parted(said)[1])
    if head is None:
        return Waiting((branch_gone(task),))
    if not isinstance(facts.pull, PullRequest):
        params = (("branch", task.branch), ("base", task.base_branch))
        item = Item("pull_request_missing", params, who="orchestrator", action="open_pull_request")
        return Waiting((item,))
    return _of_reviews(project, facts, facts.pull, head)


def asks_agent(project: Project) -> bool:
    return project.gates.review is not ReviewPolicy.HUMAN


def is_independent_reviewer(facts: Facts) -> bool:
    """The reviewer has a user of its own: neither the developer's, nor the orchestrator's, which acts for roles
    that have none, nor the pull request's author.
    """
    author = facts.pull.author if isinstance(facts.pull, PullRequest) else ""
    others = {login.casefold() for login in (facts.us.orchestrator, facts.us.developer, author)}
    return bool(facts.us.reviewer) and facts.us.reviewer.casefold() not in others


def as_review(word: VerdictWord) -> ReviewState | None:
    """The forge's word for a reviewer's; None for a tester's."""
    return _STATE.get(word)


def is_published(facts: Facts, head: str, state: ReviewState) -> bool:
    """A review of the reviewer's user says so of this commit already, whatever became of it."""
    return any(
        one.commit == head and one.state is state and _is_of(one, facts.us.reviewer) for one in _reviews(facts)
    )


def last_words(facts: Facts) -> tuple[Review, ...]:
    """Each person's newest approval or change request, oldest first. A dismissed one stays their last word."""
    return _last_words(_reviews(facts))


def _last_words(reviews: Iterable[Review]) -> tuple[Review, ...]:
    # The newest stays. Names are folded once for each spelling of a login, not for each review.
    spelt = {one.author: one for one in sorted(reviews, key=_ID) if one.state in _SAYS_SO}
    newest = {one.author.casefold(): one for one in sorted(spelt.values(), key=_ID)}
    return tuple(sorted(newest.values(), key=_ID))


def change_requests(facts: Facts, head: str) -> tuple[Review, ...]:
    """Those that stand on the head commit and were made by somebody who may."""
    return standing_requests(_reviews(facts), head)


def standing_requests(reviews: Iterable[Review], head: str) -> tuple[Review, ...]:
    """As above, of reviews that are not facts yet."""
    return _official_objections(_last_words(reviews), head)


def _official_objections(words: tuple[Review, ...], head: str) -> tuple[Review, ...]:
    return tuple(one for one in words if _is_objection(one) and one.is_official and one.commit == head)


def _reviews(facts: Facts) -> tuple[Review, ...]:
    return () if isinstance(facts.reviews, Unobserved) else facts.reviews


def _is_objection(review: Review) -> bool:
    return review.state is ReviewState.CHANGES_REQUESTED and not review.is_dismissed


def _of_reviews(project: Project, facts: Facts, pull: PullRequest, head: Sha) -> Verdict:
    words = last_words(facts)
    reasons = [_objection(one, "agent", "run") for one in _official_objections(words, head)]
    # Said of an older commit, or by somebody whose word is not official: it stands, but sends nothing back.
    missing = [
        _objection(one, by_login(one.author), "review_again")
        for one in words
        if _is_objection(one)
        and not (one.is_official and one.commit == head)
        and not (asks_agent(project) and _is_of(one, facts.us.reviewer))  # its next verdict takes it back
    ]
    held: list[Item] = []
    is_agent_asked, is_alone = asks_agent(project), not is_independent_reviewer(facts)
    if is_agent_asked:
        word = _agents_word(facts, head)
        group = {"reviewer_verdict": held, "review_due": missing}.get(word.code, reasons)
        group.append(word)
        if not is_alone:
            ok = next((one for one in words if _is_of(one, facts.us.reviewer) and _counts(one, head)), None)
            (held if ok else missing).append(
                _approved(ok) if ok else _reviewers_approval(facts, head, is_due=word.code == "review_due")
            )
    are_people_asked = not is_agent_asked or is_alone or project.gates.review is ReviewPolicy.BOTH
    demanded = _demanded(facts)
    if are_people_asked or demanded > 1:
        human = [one for one in words if _is_human(one, facts, pull)]
        people = [one for one in human if _counts(one, head)]
        held.extend(_approved(one) for one in people)
        # Else the reviewer's own is one of those that the forge demands before it lets anybody merge.
        needed = max(project.gates.approvals, demanded, 1) if are_people_asked else demanded - 1
        if len(people) < needed:
            missing.append(_more_people(len(people), needed, head, is_instead=is_agent_asked and is_alone))
            missing.extend(_in_vain(human, head))
    return closed(reasons, missing, held)


def _objection(review: Review, who: str, action: str) -> Item:
    params = (("login", review.author), ("review", str(review.id)), ("commit", review.commit))
    return Item("change_request", params, (review.commit,), who=who, action=action)


def _agents_word(facts: Facts, head: Sha) -> Item:
    run = runs.with_verdict(facts, Stage.REVIEW, head)
    if run is None or run.verdict is None:
        return Item("review_due", (("head", head),), who="agent", action="run")
    params = (("attempt", str(run.attempt)), ("head", head))
    if run.verdict.word is VerdictWord.CHANGES_REQUESTED:
        return Item("reviewer_requests_changes", params, who="agent", action="run")
    return Item("reviewer_verdict", params)


def _approved(review: Review) -> Item:
    return Item("review_approved", (("login", review.author), ("review", str(review.id))), (review.commit,))


def _counts(review: Review, head: Sha) -> bool:
    is_valid = review.is_official and not review.is_stale and not review.is_dismissed
    return review.state is ReviewState.APPROVED and review.commit == head and is_valid


def _is_of(review: Review, login: str) -> bool:
    return review.author.casefold() == login.casefold()


def _is_human(review: Review, facts: Facts, pull: PullRequest) -> bool:
    """Neither one of ours, nor the pull request's author, nor a program, nor a user that is gone."""
    ours = (facts.us.orchestrator, facts.us.developer, facts.us.reviewer, pull.author, *_NOBODY)
    login = review.author.casefold()
    return login not in {one.casefold() for one in ours} and not login.endswith(_PROGRAM)


def _reviewers_approval(facts: Facts, head: Sha, *, is_due: bool) -> Item:
    """Why the reviewer's own approval does not count, or who still has to give it."""
    login = facts.us.reviewer
    params = (("login", login), ("head", head))
    given = next((one for one in reversed(last_words(facts)) if _is_of(one, login) and one.commit == head), None)
    if given is None or given.state is not ReviewState.APPROVED:
        if is_published(facts, head, ReviewState.APPROVED):
            return Item("review_superseded", params, (), "developer", "push")
        action = ("agent", "run") if is_due else ("orchestrator", "publish_review")
        return Item("reviewer_approval", params, (), *action)
    if given.is_dismissed:
        return Item("review_dismissed", params, (str(given.id),), "developer", "push")
    if not given.is_official:
        if _is_asked_again(facts, login, given):
            return Item("review_asked_again", params, (str(given.id),), "developer", "push")
        return Item("review_not_official", params, (str(given.id),), "operator", "grant_code_write")
    return Item("review_stale", params, (str(given.id),), "developer", "push")


def _is_asked_again(facts: Facts, login: str, given: Review) -> bool:
    """Who asks a user for a review again takes the standing of the earlier ones away, without an event of it."""
    asked = (one for one in _reviews(facts) if one.state is ReviewState.REQUESTED and _is_of(one, login))
    return any(one.id > given.id for one in asked)


def _demanded(facts: Facts) -> int:
    """How many approvals the base branch's rules ask for."""
    return facts.rules.required_approvals if isinstance(facts.rules, BranchRules) else 0


def _more_people(have: int, needed: int, head: Sha, *, is_instead: bool) -> Item:
    params = (("have", str(have)), ("needed", str(needed)), ("head", head))
    code = "human_review_no_reviewer_user" if is_instead else "human_review"
    return Item(code, params, who="reviewer", action="approve_pull_request")


def _in_vain(human: Sequence[Review], head: Sha) -> Iterator[Item]:
    """The newest approvals of the head by people who may not give one: to approve again would not help them."""
    given = [one for one in human if one.state is ReviewState.APPROVED and one.commit == head]
    for one in [one for one in given if not one.is_official and not one.is_dismissed][-MAX_IN_VAIN:]:
        params = (("login", one.author), ("head", head))
        yield Item("human_review_not_official", params, (str(one.id),), "operator", "grant_code_write")

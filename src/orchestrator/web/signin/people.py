"""Who may sign in with Gitea, and what they may then do."""

from collections.abc import Iterable

from orchestrator.domain.model import Person
from orchestrator.web.caller import Scope


class People:
    """Of orchestrator.yaml. `is_open` lets in, to read, everybody whom Gitea knows."""

    def __init__(self, people: Iterable[Person] = (), *, is_open: bool = False) -> None:
        self._scopes: dict[str, Scope] = {}
        for one in people:
            login = one.gitea_login.casefold()
            if login:  # the same login twice: the more that any entry says
                self._scopes[login] = max(self._scopes.get(login, Scope.NONE), _scope(one))
        self._others = Scope.READ if is_open else Scope.NONE

    def scope(self, login: str) -> Scope:
        """NONE for whom nobody let in. Logins of Gitea are the same in capitals."""
        return self._scopes.get(login.casefold(), self._others) if login else Scope.NONE


def _scope(person: Person) -> Scope:
    if person.admin:
        return Scope.ADMIN
    return Scope.OPERATE if person.approver else Scope.READ

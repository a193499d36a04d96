"""What could not be looked at: nobody passes on it."""

from orchestrator.qg.facts import NOT_NEEDED, Unobserved
from orchestrator.qg.verdict import Item


def unseen(*observations: object) -> tuple[Item, ...]:
    """An item for each observation that was not made, without repeating one."""
    found = [_item(one) for one in observations if isinstance(one, Unobserved)]
    return tuple(dict.fromkeys(found)) if found else ()


def _item(observation: Unobserved) -> Item:
    if observation == NOT_NEEDED:
        return Item("look_due", who="orchestrator", action="look")
    return Item(observation.code, (("detail", observation.detail),), who="operator", action="orch doctor")

"""What a model's work costs, as ended runs showed: the program tells a price at its end alone, and a list of
prices of our own would grow old.
"""

import json
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.agents.rundir import place

RATES = "model-rates.json"
"""Its name in the data folder."""
_WRITTEN, _TO_CACHE, _FROM_CACHE = 5.0, 1.25, 0.1
"""What a token costs beside one that is read uncached, as the provider's prices stand to one another. For a model
with others an estimate is a little off.
"""
_MOST_USD = 0.001
"""For a token that is read. Dozens of times what any costs: more was made up, or is no price."""
_NEWS = 0.05
"""Share of a rate. Every run is a little dearer or cheaper than the one before it."""
_MODELS = 50
_MAX_BYTES = 65_536


def weighed(read: float, to_cache: float, from_cache: float, written: float) -> float:
    """So many tokens that are read uncached would cost the same. Live counts of what was written are partial
    (contract section 4), which the rate that is learned with such counts makes up for.
    """
    return read + _TO_CACHE * to_cache + _FROM_CACHE * from_cache + _WRITTEN * written


@dataclass(slots=True)
class Rates:
    """US dollars for one weighed token, by model, of the newest run that told. Kept in
    `path`, where there is one, for later processes.
    """

    path: Path | None = None
    _known: dict[str, float] | None = field(default=None, init=False)

    def of(self, model: str) -> float:
        """0.0 for a model of which no run has ended yet."""
        return self._all().get(model, 0.0)

    def learn(self, model: str, cost_usd: float, weighed_tokens: float) -> None:
        """From a run that ended with its cost. What can be no rate is passed over, and what is no news. A file
        that cannot be written costs nothing but the first estimate after the next start.
        """
        rate, known = cost_usd / weighed_tokens if weighed_tokens > 0 else 0.0, self.of(model)
        if not model or not _is_rate(rate) or abs(rate - known) < _NEWS * known:
            return
        others = [(name, one) for name, one in self._all().items() if name != model]
        self._known = dict([*others, (model, rate)][-_MODELS:])
        if self.path:
            with suppress(OSError):
                place(self.path, json.dumps(self._known).encode())

    def _all(self) -> dict[str, float]:
        if self._known is None:
            self._known = _read(self.path) if self.path else {}
        return self._known


def _read(path: Path) -> dict[str, float]:
    """Nothing where there is nothing to understand: rates are learned anew."""
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(_MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    rates = found.items() if isinstance(found, dict) else ()
    return {name: rate for name, rate in rates if isinstance(rate, float) and _is_rate(rate)}


def _is_rate(rate: float) -> bool:
    return 0 < rate <= _MOST_USD

"""How often signing in may be tried: by one address, and by all of them together."""

import ipaddress
import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from orchestrator.ports import Clock
from orchestrator.web.signin.hosts import values

MAX_ADDRESSES: Final = 4096
"""Remembered at once; the one that was quiet for longest is forgotten first. All together are counted for ever."""
MAX_NAME_CHARS: Final = 64


@dataclass(frozen=True, slots=True)
class Rate:
    """So many at once, and one more every so many seconds."""

    at_once: int
    each_s: float


OF_ONE: Final = Rate(10, 30.0)
OF_ALL: Final = Rate(200, 0.5)


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


class Attempts:
    """Takes no notice of whether an attempt succeeds: whoever may sign in needs few."""

    def __init__(self, clock: Clock, of_one: Rate = OF_ONE, of_all: Rate = OF_ALL) -> None:
        self._clock = clock
        self._of_one, self._of_all = of_one, of_all
        self._addresses: OrderedDict[str, _Bucket] = OrderedDict()
        self._all = _Bucket(of_all.at_once, clock.monotonic())

    def wait_s(self, scope: Mapping[str, Any]) -> int:
        """0 when this attempt may be made, and is counted; else after how many seconds the next one may be."""
        now, address = self._clock.monotonic(), address_of(scope)
        mine = self._addresses.setdefault(address, _Bucket(self._of_one.at_once, now))
        self._addresses.move_to_end(address)
        if len(self._addresses) > MAX_ADDRESSES:
            self._addresses.popitem(last=False)
        wait_s = max(_wait_s(mine, self._of_one, now), _wait_s(self._all, self._of_all, now))
        if wait_s == 0:
            mine.left -= 1
            self._all.left -= 1
        return wait_s


def _wait_s(bucket: _Bucket, rate: Rate, now: float) -> int:
    bucket.left = min(rate.at_once, bucket.left + (now - bucket.at) / rate.each_s)
    bucket.at = now
    return 0 if bucket.left >= 1 else max(math.ceil((1 - bucket.left) * rate.each_s), 1)


def address_of(scope: Mapping[str, Any]) -> str:
    """Who speaks to us; behind a proxy on this machine or in our network, who speaks to it. Who is in that network
    could claim to be anybody, and would still meet the limit of all together.
    """
    peer = scope["client"][0] if scope.get("client") else ""
    told = values(scope, b"x-real-ip")
    if len(told) == 1 and _is_near(peer):
        return told[0].decode("latin-1")[:MAX_NAME_CHARS]
    return str(peer)[:MAX_NAME_CHARS]


def _is_near(peer: str) -> bool:
    try:
        return ipaddress.ip_address(peer).is_private
    except ValueError:
        return False

"""One look for all who follow: nothing is lost, nothing is looked at in vain."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from sqlalchemy import Connection, insert

from orchestrator.db import Database
from orchestrator.domain.errors import Transient
from orchestrator.pace import Timing
from orchestrator.store.schema import watermarks
from orchestrator.web.live import LOOK_S, Changes, Common, Over

NOW = datetime(2026, 11, 22, tzinfo=UTC)


@dataclass
class Versions:
    """A database that is told when it changed, and counts who looks. Its clock moves only by sleeping."""

    now: float = 0.0
    version: int = 7
    looks: int = 0
    sleeps: int = 0
    changes_at: list[float] = field(default_factory=list)

    def look(self) -> int:
        self.looks += 1
        return self.version + sum(at <= self.now for at in self.changes_at)

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.sleeps += 1
        await asyncio.sleep(0)

    def changes(self, most: int = 200) -> Changes:
        return Changes(self.look, most=most, timing=Timing(lambda: self.now, self.sleep))


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_the_first_wait_returns_at_once() -> None:
    versions = Versions()
    assert await versions.changes().wait(0) == 1
    assert versions.looks == 1


async def test_fifty_idle_subscribers_share_four_looks_a_second() -> None:
    versions = Versions(changes_at=[100.0])
    changes = versions.changes()
    seen = await changes.wait(0)
    told = await asyncio.gather(*[changes.wait(seen) for _ in range(50)])
    assert told == [seen + 1] * 50
    assert versions.now == pytest.approx(100, abs=LOOK_S)
    assert versions.looks <= 100 / LOOK_S + 1


async def test_nobody_looks_while_nobody_waits() -> None:
    versions = Versions(changes_at=[5.0])
    changes = versions.changes()
    seen = await changes.wait(0)
    await changes.wait(seen)
    looks, sleeps = versions.looks, versions.sleeps
    await turns()
    assert (versions.looks, versions.sleeps) == (looks, sleeps)


async def test_a_subscriber_that_leaves_ends_the_looking() -> None:
    versions = Versions()
    changes = versions.changes()
    seen = await changes.wait(0)
    waiting = asyncio.create_task(changes.wait(seen))
    await turns()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await turns()
    looks = versions.looks
    await turns()
    assert versions.looks == looks


async def test_what_is_stored_between_two_waits_is_not_lost() -> None:
    versions = Versions()
    changes = versions.changes()
    seen = await changes.wait(0)
    versions.version += 1
    assert await changes.wait(seen) == seen + 1


async def test_one_that_missed_several_changes_gets_the_newest_number() -> None:
    versions = Versions(changes_at=[1.0, 2.0])
    changes = versions.changes()
    first = await changes.wait(0)
    second = await changes.wait(first)
    third = await changes.wait(second)
    assert await changes.wait(first) == third


async def test_places_are_bounded_and_given_back() -> None:
    changes = Versions().changes(most=2)
    with changes.place(), changes.place():
        assert changes.followers == 2
        with pytest.raises(Transient, match="2 streams"), changes.place():
            pass
    with changes.place():
        assert changes.followers == 1


async def test_the_end_of_the_service_ends_every_wait() -> None:
    versions = Versions()
    changes = versions.changes()
    seen = await changes.wait(0)
    waiting = [asyncio.create_task(changes.wait(seen)) for _ in range(3)]
    await turns()
    changes.close()
    assert all(isinstance(one, Over) for one in await asyncio.gather(*waiting, return_exceptions=True))
    with pytest.raises(Over):
        await changes.wait(0)


async def test_a_wait_with_a_bound_returns_what_was_known() -> None:
    changes = Changes(lambda: 1)
    seen = await changes.wait(0)
    assert await changes.wait_at_most(seen, 0.01) == seen


async def test_a_commit_of_ours_and_of_another_process_is_seen(database: Database) -> None:
    def add(connection: Connection, name: str) -> None:
        connection.execute(insert(watermarks).values(project_id=name, since=NOW, seen_until=NOW))

    changes = Changes(database.version)
    seen = await changes.wait(0)
    await database.write(lambda connection: add(connection, "ours"))
    second = await changes.wait(seen)
    other = Database(database.url)
    await other.write(lambda connection: add(connection, "theirs"))
    await other.aclose()
    assert await changes.wait(second) > second


def test_a_look_at_a_file_that_cannot_be_read_is_no_news(database: Database) -> None:
    before = database.version()
    assert database.version() == before
    lost = Database(f"sqlite:///{database.path.parent}/not/there.db")
    assert lost.version() == lost.version() == 0
    lost.close()


@dataclass
class Asked:
    """Answers with the number of the question, as soon as it may; the first `faults` ones fail."""

    faults: int = 0
    count: int = 0
    may: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self) -> int:
        self.count += 1
        number = self.count
        await self.may.wait()
        if number <= self.faults:
            raise Transient("locked", "Not now.")
        return number


async def test_fifty_who_follow_ask_once_of_each_change() -> None:
    asked = Asked()
    common, told = Common(asked), []
    for number in (1, 2):
        wanted = [asyncio.create_task(common.at(number)) for _ in range(50)]
        await turns()
        asked.may.set()
        told.append(set(await asyncio.gather(*wanted)))
        asked.may.clear()
    assert told == [{1}, {2}]


async def test_who_asks_first_and_leaves_takes_nobody_along() -> None:
    asked = Asked()
    common = Common(asked)
    first, second = (asyncio.create_task(common.at(1)) for _ in range(2))
    await turns()
    first.cancel()
    asked.may.set()
    assert await second == 1


async def test_what_could_not_be_answered_is_asked_again() -> None:
    asked = Asked(faults=1)
    asked.may.set()
    common = Common(asked)
    with pytest.raises(Transient):
        await common.at(1)
    assert await common.at(1) == 2

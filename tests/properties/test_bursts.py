"""Crowds of deliveries, and none at all."""

import asyncio
import contextlib
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import counted
from orchestrator.db import Database
from properties import acts
from properties.carrier import Carrier, Fate
from properties.small_world import World, again, emptied

HAPPY = (acts.BEGIN, *(acts.BY_NAME[name] for name in ("approve", "approve", "ci_green")))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    database = Database(f"sqlite:///{tmp_path / 'one.db'}")
    database.open()
    made = World(await emptied(database))
    await made.open()
    yield made
    await made.close()
    await database.aclose()


async def happened(world: World, carrier: Carrier, *done: acts.Act) -> None:
    for act in done:
        await act.perform(world)
        await carrier.hand_over((Fate.TOLD,), is_reversed=False)


async def test_five_pushes_told_five_times_each_at_once_are_one_run_on_the_last_head(world: World) -> None:
    """F4, F7."""
    carrier = Carrier(world, Counter())
    await happened(world, carrier, *HAPPY[:-1])
    for _ in range(5):
        await acts.BY_NAME["push_code"].perform(world)
    await acts.BY_NAME["ci_green"].perform(world)
    told = world.mail.taken()
    for delivery in told:
        await world.hand_over(delivery)
    copies = [again(delivery) for delivery in told for _ in range(4)]
    await asyncio.gather(*(world.hand_over(one) for one in copies))
    await world.desk.settle()
    looked_at = [row.base_sha for row in world.rows("SELECT base_sha FROM agent_runs WHERE agent = 'reviewer'")]
    assert looked_at == [world.head]
    assert world.started().count("tester") == 1
    counted.said(f"{len(copies)} repeats of {len(told)} deliveries: 0 more runs")


async def test_a_work_item_is_read_once_a_look_first_while_its_delivery_waits_for_the_disk(world: World) -> None:
    await acts.BEGIN.perform(world)
    (delivery,) = world.mail.taken()
    world.plane.calls.clear()
    with contextlib.closing(sqlite3.connect(world.database.path, isolation_level=None)) as another:
        another.execute("BEGIN IMMEDIATE")
        handing = asyncio.create_task(world.hand_over(delivery))
        for _ in range(100):  # its turn comes after the receiver's
            await asyncio.sleep(0)
        assert len(world.plane.calls) == 1
        assert not handing.done()
        another.execute("ROLLBACK")
    await handing
    await world.desk.settle()
    assert [call.path for call in world.plane.calls].count(world.plane.calls[0].path) == world.desk.looks


async def test_with_every_delivery_lost_one_resync_after_each_act_is_enough(world: World) -> None:
    """R5, F8."""
    for act in HAPPY:
        await act.perform(world)
        world.mail.taken()
        await world.desk.resync()
        world.mail.taken()
    world.check()
    assert not world.handed
    assert (world.standing().stage, world.standing().codes) == ("ready", {"merge"})


async def test_a_hundred_deliveries_of_what_we_did_ourselves_start_nothing(world: World) -> None:
    """R14."""
    carrier = Carrier(world, Counter())
    await happened(world, carrier, *HAPPY)
    ours = [one for one in world.handed if world.is_ours(one)]
    runs, looks = world.started(), world.desk.looks
    told = [again(one) for one in ours for _ in range(1 + 100 // len(ours))]
    for delivery in told:
        await world.hand_over(delivery)
    await world.desk.settle()
    assert len(told) >= 100
    assert (world.started(), world.desk.looks) == (runs, looks)
    counted.said(f"{len(told)} deliveries of our own: 0 runs, 0 looks")


@pytest.mark.nightly
@pytest.mark.timeout(600)
async def test_two_thousand_replays_start_nothing_and_move_nothing(world: World) -> None:
    """S3: a thousand under their own ids, a thousand under new ones, of all that ever came."""
    carrier = Carrier(world, Counter())
    await happened(world, carrier, *HAPPY)
    await world.desk.resync()
    told, before, runs = list(world.handed), world.standing().settled, world.started()
    events = world.rows("SELECT count(*) AS n FROM events")[0].n
    for number in range(1000):
        one = told[number % len(told)]
        await world.hand_over(one)
        await world.hand_over(again(one))
    await world.desk.settle()
    assert (world.standing().settled, world.started()) == (before, runs)
    assert world.rows("SELECT count(*) AS n FROM events")[0].n == events
    world.check()
    counted.said(f"S3: 1000 replays and 1000 under new ids of {len(told)} deliveries: 0 runs, 0 moves")


@pytest.mark.nightly
@pytest.mark.timeout(1800)
async def test_a_hundred_tasks_of_which_nobody_tells_us_come_to_ready(tmp_path: Path) -> None:
    """R5: each act is found by one resync."""
    database = Database(f"sqlite:///{tmp_path / 'one.db'}")
    database.open()
    ready = 0
    for _ in range(100):
        made = World(await emptied(database))
        await made.open()
        await test_with_every_delivery_lost_one_resync_after_each_act_is_enough(made)
        ready += made.standing().stage == "ready"
        await made.close()
    await database.aclose()
    assert ready == 100

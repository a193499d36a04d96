"""The clock of moved time stands still while anything is at work."""

import asyncio
import time

import pytest

from moved import MovedClock, ToldPool, in_moved_time

LONG_S = 0.3


@pytest.mark.parametrize("is_handed_past_the_loop", [False, True])
def test_while_a_thread_is_at_work_no_time_passes(*, is_handed_past_the_loop: bool) -> None:
    async def story(clock: MovedClock) -> float:
        pool, timer = ToldPool(clock.loop), asyncio.ensure_future(asyncio.sleep(1000))
        begun = clock.monotonic()
        work = pool.submit(time.sleep, LONG_S) if is_handed_past_the_loop else None
        await (asyncio.wrap_future(work) if work else asyncio.to_thread(time.sleep, LONG_S))
        passed = clock.monotonic() - begun
        await timer
        pool.shutdown()
        assert clock.monotonic() - begun == 1000
        return passed

    assert in_moved_time(story) == 0

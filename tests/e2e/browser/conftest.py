"""One Chromium for each worker that has such tests, on a loop that lives as long as it does.

The tests of this folder carry `pytestmark = BROWSER` (house.py): they run on that loop.
"""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from e2e.browser import chromium


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    if reason := chromium.lacking():
        pytest.skip(reason)
    async with chromium.started(tmp_path_factory.mktemp("chromium")) as one:
        yield one

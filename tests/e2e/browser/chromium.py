"""Debian's Chromium, started by Playwright: nothing is downloaded, nothing of it is left when tests end."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Browser, async_playwright

from support import ROOT

PROGRAM = "/usr/bin/chromium"
AXE = ROOT / ".tools" / "axe.min.js"
ARGUMENTS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
IS_ROOT = os.geteuid() == 0
"""Chromium's own sandbox refuses to work for root, as whom containers run their tests. The only pages that are
opened are our own, on loopback."""


def lacking() -> str:
    """What this machine has not got for these tests, and how it comes by it; empty when all is there."""
    if not shutil.which(PROGRAM):
        return f"{PROGRAM} is not installed: apt-get install chromium"
    if not AXE.exists():
        return "axe-core is not installed (.tools/axe.min.js): run make setup"
    return ""


@asynccontextmanager
async def started(folder: Path) -> AsyncIterator[Browser]:
    """With a folder of its own for all that it writes. Ended by Playwright, which started it and knows its pid."""
    environ = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=PROGRAM,
            headless=True,
            args=list(ARGUMENTS),
            chromium_sandbox=not IS_ROOT,  # Playwright says --no-sandbox for us otherwise
            env=environ | {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_CACHE_HOME": str(folder)},
            artifacts_dir=folder / "artifacts",
            traces_dir=folder / "traces",
        )
        try:
            yield browser
        finally:
            await browser.close()

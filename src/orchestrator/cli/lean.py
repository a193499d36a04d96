"""Starts without what libraries load only in case: a tenth of the time until `orch serve` listens."""

import gc
import importlib
import io
import os
import sys

GC_THRESHOLDS = (50_000, 50, 100)
"""Imports and deliveries leave hardly any cycles behind, and Python looks for them too often: a tenth of both."""


def look_for_garbage_seldom() -> None:
    gc.set_threshold(*GC_THRESHOLDS)


def forgo_plugins() -> None:
    """Pydantic looks through all that is installed for plugins, before its first model; we have none."""
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


def speak_all_languages() -> None:
    """What a terminal cannot show is a question mark there, and no reason to end."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def load_structlog() -> None:
    """Without rich, which only colours tracebacks for whoever watches."""
    if not sys.stderr.isatty():
        _load_without("rich", "structlog")


def _load_without(optional: str, library: str) -> None:
    """Imports `library` as if `optional` were not installed, which it then does without."""
    if optional in sys.modules:
        return
    sys.modules[optional] = None  # type: ignore[assignment]  # an import of it raises ImportError then
    try:
        importlib.import_module(library)
    finally:
        del sys.modules[optional]

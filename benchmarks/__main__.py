"""`python -m benchmarks [NAME …] [--quick]`: measures, then prints figures beside this machine's own limits."""

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks import capture, crash, decide, faces, ingest, reconcile, start, status, trigger
from benchmarks.report import Figure, failures, machine, table, warning
from benchmarks.scale import FULL, QUICK, TINY, Bench, Scale

MEASURES: Mapping[str, Callable[[Bench], list[Figure]]] = {
    "start": start.measure,
    "ingest": ingest.measure,
    "trigger": trigger.measure,
    "status": status.measure,
    "faces": faces.measure,
    "crash": crash.measure,
    "decide": decide.measure,
    "reconcile": reconcile.measure,
    "capture": capture.measure,
}


def main(arguments: Sequence[str]) -> int:
    """0 however the figures are; 1 when something broke, or with --strict when a target is missed."""
    options = _options(arguments)
    with _folder(options.dir) as folder:
        facts, doubt = machine(folder), warning(folder)
        _tell("  ".join(f"{name}: {value}" for name, value in facts.items()))
        if doubt:
            _tell(f"Careful: {doubt}.")
        measured = {name: _measured(name, folder, _scale(options)) for name in options.names}
    figures = [figure for found in measured.values() for figure in found or ()]
    broken = [name for name, found in measured.items() if found is None]
    if options.json:
        rows = [asdict(figure) | {"ratio": figure.ratio, "is_met": figure.is_met} for figure in figures]
        print(json.dumps({"machine": facts, "careful": doubt, "figures": rows}))
    else:
        print(table(figures))
    missed = failures(figures)
    _tell(f"Missed: {', '.join(missed)}." if missed else "No target was missed.")
    if broken:
        _tell(f"Broke, so without figures (the reason is above): {', '.join(broken)}.")
    return 1 if broken or (missed and options.strict) else 0


def _measured(name: str, folder: Path, scale: Scale) -> list[Figure] | None:
    """None when it broke: what the others measured is told all the same."""
    _tell(f"{name} …")
    began, own = time.monotonic(), folder / name
    own.mkdir()
    try:
        figures = MEASURES[name](Bench(own, scale, _tell))
    except Exception:  # noqa: BLE001 - whatever it is, it is told in full
        traceback.print_exc()
        return None
    finally:
        shutil.rmtree(own, ignore_errors=True)
    _tell(f"{name} took {time.monotonic() - began:.0f} s")
    return figures


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(MEASURES)}; all when none is named"
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="a few minutes less, and noisier")
    size.add_argument("--tiny", action="store_true", help="shows only that everything works")
    parser.add_argument("--kills", type=int, help="how often the service is killed (crash)")
    parser.add_argument("--strict", action="store_true", help="exit code 1 when a target is missed")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--dir", type=Path, help="folder on the disk to measure (default: the temporary one)")
    options = parser.parse_args(arguments)
    options.names = options.names or list(MEASURES)
    if unknown := set(options.names) - set(MEASURES):
        parser.error(f"no measure is called {', '.join(sorted(unknown))}; there are {', '.join(MEASURES)}")
    return options


def _scale(options: argparse.Namespace) -> Scale:
    scale = TINY if options.tiny else QUICK if options.quick else FULL
    return replace(scale, kills=options.kills) if options.kills else scale


@contextmanager
def _folder(parent: Path | None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="orchestrator-bench-", dir=parent) as name:
        yield Path(name)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _stoppable(arguments: Sequence[str]) -> int:
    """As `main`; whoever interrupts or ends it finds nothing left of what it started."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return main(arguments)
    except KeyboardInterrupt:
        _tell("Stopped early: without figures, and nothing is left of it.")
        return 130


if __name__ == "__main__":
    sys.exit(_stoppable(sys.argv[1:]))

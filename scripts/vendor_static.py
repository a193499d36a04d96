"""Fetches the browser libraries that we ship, as `vendor.toml` beside them pins them: by npm, checked, never run.

python scripts/vendor_static.py          # fetch, check, write
python scripts/vendor_static.py --check  # no network: the files are what the list says
"""

import argparse
import base64
import hashlib
import subprocess  # noqa: TID251 - npm fetches; this is no part of the service
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VENDOR = Path(__file__).resolve().parent.parent / "src/orchestrator/web/static/vendor"
Package = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only compare what is there with the list")
    packages = tomllib.loads((VENDOR / "vendor.toml").read_text(encoding="utf-8"))["package"]
    if not parser.parse_args().check:
        for package in packages:
            fetch(package, VENDOR)
    found = list(faults(packages, VENDOR))
    print("\n".join(found) or f"{VENDOR.name}: all files are as vendor.toml says")
    return 1 if found else 0


def fetch(package: Package, into: Path) -> None:
    """The package's tarball by npm, without scripts; its digest must be the one that the registry told once."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = f"{package['name']}@{package['version']}"
        command = ["npm", "pack", "--silent", "--ignore-scripts", f"--pack-destination={folder}", wanted]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        [tarball] = Path(folder).iterdir()
        if integrity(tarball.read_bytes()) != package["integrity"]:
            sys.exit(
                f"{wanted} is not what it was: its digest is not the one of vendor.toml. Nothing was written."
            )
        with tarfile.open(tarball) as archive:
            for one in package["file"]:
                read = archive.extractfile(f"package/{one['from']}")
                if read is None:
                    sys.exit(f"{wanted} has no file {one['from']}.")
                (into / one["to"]).write_bytes(read.read())


def integrity(content: bytes) -> str:
    """As npm writes it."""
    return "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()


def faults(packages: list[Package], folder: Path) -> Iterator[str]:
    """What differs from the list, and what lies there without being on it."""
    listed = {one["to"]: one["sha256"] for package in packages for one in package["file"]}
    for name, digest in listed.items():
        path = folder / name
        if not path.exists():
            yield f"{name} is missing"
        elif hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            yield f"{name} is not the file of vendor.toml"
    for path in sorted(folder.iterdir()):
        if path.name not in {*listed, "vendor.toml"}:
            yield f"{path.name} is in no package of vendor.toml"


if __name__ == "__main__":
    sys.exit(main())

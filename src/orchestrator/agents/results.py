"""What a run leaves: out as a bundle, into a repository of its own, checked, signed, and then into the mirror."""

import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NoReturn

from orchestrator.agents import errand, launcher, packs, supervise, trailers, treerules
from orchestrator.agents.errand import Done, Errand
from orchestrator.agents.git import OLD_FAULTS, Git, check_branch
from orchestrator.agents.packs import Bundle, PackLimits
from orchestrator.agents.rundir import RunPaths
from orchestrator.agents.sandboxes import NO_SANDBOX, Sandboxes
from orchestrator.agents.trailers import Signature
from orchestrator.domain.errors import Permanent, Transient
from orchestrator.domain.model import Sha, parse_sha
from orchestrator.domain.run import RunSpec

BUNDLE = "result.bundle"
QUARANTINE = "result.git"
_HEAD_FILE = "result.head"
_HEAD = "refs/heads/result"
_SIGNED = "refs/heads/signed"
_LINKS_MAX = 500
_ENTRY_MAX_BYTES = 200 + treerules.PATH_MAX_BYTES
_OF_THE_MACHINE = (
    "No space left",
    "Cannot allocate memory",
    "Input/output error",
    "Too many open files",
    "timeout",
)
_RETRY = "Nothing was published. Look at the run's log: was the agent misled? Then retry the task."


@dataclass(frozen=True, slots=True)
class ResultLimits:
    """What one run may give back."""

    bundle_bytes: int = 100 * 1024 * 1024
    unpacked_bytes: int = 1024 * 1024 * 1024
    files: int = 3000
    commits: int = 500
    timeout_s: float = 120.0


@dataclass(frozen=True, slots=True)
class _Entry:
    """One path as one commit changed it. `mode` and `blob` are the new ones."""

    mode: str
    blob: str
    path: bytes


@dataclass(frozen=True, slots=True)
class Results:
    """Blocking: call it in a thread."""

    git: Git = field(default_factory=Git)
    limits: ResultLimits = field(default_factory=ResultLimits)
    search_path: str = field(default_factory=lambda: os.environ.get("PATH", os.defpath))
    sandboxes: Sandboxes | None = None
    """None: what reads the agent's repository gets no sandbox either. Only tests leave it so."""

    def take(self, spec: RunSpec, paths: RunPaths, mirror: Path, model: str) -> Sha | None:
        """The run's commits under our names, fetched into the mirror as `refs/orch/runs/<id>`; None when there are
        none. Doing it again gives the same. Every refusal is a Permanent, and then the mirror has nothing of it.
        """
        bundle = self._bundled(spec, paths)
        if bundle is None:
            return None
        place = _Quarantine(self.git, paths.root / QUARANTINE, mirror, spec, self.limits)
        try:
            place.make()
            head = place.unpacked(paths.root / BUNDLE, bundle)
            place.check(head)
            return place.handed_over(place.signed(head, _signature(spec, paths, model)))
        finally:
            shutil.rmtree(place.git_dir, ignore_errors=True)
            (paths.root / BUNDLE).unlink(missing_ok=True)

    def _bundled(self, spec: RunSpec, paths: RunPaths) -> Bundle | None:
        """It runs where the agent ran: whatever that planted in its .git may do no more than it could itself."""
        branch = f"refs/heads/{check_branch(spec.branch)}"
        base = parse_sha(spec.base_sha)
        # Without the base: what people committed, fit or not, is not looked at again.
        words = ("bundle", "create", "-q", "-", branch, f"^{base}")
        done = self._git_there(paths, BUNDLE, self.limits.bundle_bytes, *words)
        if not done.is_well:
            self._has_nothing_new(spec, paths, done)
            return None
        with _opened(paths.root / BUNDLE) as file:
            found = packs.read_header(file)
            if found.ref != branch:
                raise Permanent(
                    "branch_missing", f"The run gave back {found.ref[:80]!r}, not its branch.", hint=_RETRY
                )
            packs.unpacked_bytes(file, found.pack_at, PackLimits(self.limits.unpacked_bytes), len(base) // 2)
        return found

    def _git_there(self, paths: RunPaths, out: str, most: int, *words: str) -> Done:
        program = errand.git_program(self.search_path)
        own = ("core.fsmonitor=false", "core.hooksPath=/dev/null", "pack.threads=1")
        argv = [
            program,
            f"--git-dir={paths.workspace}/.git",
            *(word for one in own for word in ("-c", one)),
            *words,
        ]
        asked = Errand(argv, _env(paths, self.search_path), paths.root / out, most, self.limits.timeout_s)
        if self.sandboxes is None:
            return errand.run(paths, asked, NO_SANDBOX)
        with self.sandboxes.errand(paths, program) as way:
            return errand.run(paths, asked, way)

    def _has_nothing_new(self, spec: RunSpec, paths: RunPaths, done: Done) -> None:
        """There are no empty bundles. Raises why there is none when the branch is elsewhere than at its base."""
        if _size(paths.root / BUNDLE) >= self.limits.bundle_bytes:
            packs.refuse_size("its bundle", f"{self.limits.bundle_bytes} bytes")
        ref = f"refs/heads/{spec.branch}^{{commit}}"
        asked = self._git_there(paths, _HEAD_FILE, 4096, "rev-parse", "--quiet", "--verify", ref)
        if asked.why == done.why == supervise.EXITED and not asked.is_well:
            raise Permanent(
                "branch_missing",
                f"The run left no branch {spec.branch!r} behind, so nothing was taken. git said: {done.said}",
                hint=_RETRY,
            )
        if asked.is_well and _first_word(paths.root / _HEAD_FILE) == spec.base_sha:
            return
        raise Permanent(
            "no_bundle",
            f"git could not pack the run's commits ({done.why}, {done.code}): {done.said or 'no word'}",
            hint="An agent may have rewritten its branch or damaged its .git. Look at its log; then retry.",
        )


@dataclass(frozen=True, slots=True)
class _Quarantine:
    """A bare repository of ours that borrows the mirror's objects. What is refused goes away with it."""

    git: Git
    git_dir: Path
    mirror: Path
    spec: RunSpec
    limits: ResultLimits

    def make(self) -> None:
        shutil.rmtree(self.git_dir, ignore_errors=True)
        kind = "sha256" if len(self.spec.base_sha) == 64 else "sha1"
        self.git("init", "--quiet", "--bare", "--template=", f"--object-format={kind}", "--", self.git_dir)
        borrowed = self.git_dir / "objects" / "info"
        borrowed.mkdir(exist_ok=True)
        (borrowed / "alternates").write_text(f"{self.mirror}/objects\n")

    def unpacked(self, bundle: Path, found: Bundle) -> Sha:
        """With git's own check of every object. git before 2.46 does not make it when it fetches from a bundle."""
        with _opened(bundle) as file:
            file.seek(found.pack_at)
            # The descriptor is what git reads from, so nothing may be read ahead.
            os.lseek(file.fileno(), found.pack_at, os.SEEK_SET)
            lenient = ",".join(f"{one}=ignore" for one in OLD_FAULTS)
            words = ("index-pack", "--stdin", "--fix-thin", f"--strict={lenient}")
            self._trusting_nothing(*words, f"--max-input-size={self.limits.bundle_bytes}", told=file)
        head = Sha(found.head)
        self._trusting_nothing("update-ref", _HEAD, head)
        answer = self._ask("cat-file", "-t", head).strip()
        if answer != b"commit":
            raise Permanent("bad_objects", f"The run's branch is no commit but a {answer[:20]!r}.", hint=_RETRY)
        return head

    def check(self, head: Sha) -> None:
        base = self.spec.base_sha
        if self.git("merge-base", "--is-ancestor", base, head, git_dir=self.git_dir, accept=(0, 1)).code:
            raise Permanent(
                "not_fast_forward",
                f"The run rewrote the history of {self.spec.branch!r}: {head} does not build on {base}.",
                hint="Nothing was published. Retry the task.",
            )
        commits = len(self._new(head))
        if commits > self.limits.commits:
            packs.refuse_size(f"{commits} commits", f"{self.limits.commits} commits")
        entries = list(self._entries(head))
        if len({one.path for one in entries}) > self.limits.files:
            packs.refuse_size("its changed files", f"{self.limits.files} files")
        for one in entries:
            _check_entry(one)
        self._check_links([one for one in entries if one.mode == treerules.LINK_MODE])

    def signed(self, head: Sha, by: Signature) -> Sha:
        """Every commit that the forge does not have is written anew, parents first."""
        new = self._new(head)
        raws = self._contents(new)
        now: dict[str, str] = {}
        folder = self.git_dir / "signed"
        folder.mkdir()
        written: list[Path] = []
        for old in new:
            text = trailers.signed(raws[old], now, by)
            now[old] = trailers.name_of(text, old)
            written.append(folder / now[old])
            written[-1].write_bytes(text)
        listed = "".join(f"{path}\n" for path in written).encode()
        self.git("hash-object", "-t", "commit", "-w", "--stdin-paths", git_dir=self.git_dir, told=listed)
        return Sha(now.get(head, head))

    def handed_over(self, head: Sha) -> Sha:
        self.git("update-ref", _SIGNED, head, git_dir=self.git_dir)
        source = f"+{_SIGNED}:refs/orch/runs/{int(self.spec.run)}"
        words = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules")
        options = ("--no-auto-maintenance", "--", self.git_dir, source)
        self.git(*words, *options, git_dir=self.mirror, trusted=(self.git_dir,), check_objects=True)
        return head

    def _new(self, head: Sha) -> list[str]:
        """Commits that the forge does not have, parents before children. Those of others stay as they are."""
        words = ("rev-list", "--reverse", "--topo-order", "--stdin")
        out = self.git(*words, git_dir=self.git_dir, told=self._wanted(head)).out
        return out.decode().split()

    def _wanted(self, head: Sha) -> bytes:
        known = self.git("for-each-ref", "--format=^%(objectname)", "refs/remotes/forge", git_dir=self.mirror).out
        return f"{head}\n^{self.spec.base_sha}\n".encode() + known

    def _entries(self, head: Sha) -> Iterator[_Entry]:
        """Of every new commit, not of the last alone: the branch's history is published, too."""
        flags = ("--raw", "-z", "-m", "-r", "--root", "--no-renames", "--no-abbrev", "--no-ext-diff", "--format=")
        most = _ENTRY_MAX_BYTES * (self.limits.files + self.limits.commits)
        try:
            out = self.git(
                "log", *flags, "--stdin", git_dir=self.git_dir, told=self._wanted(head), output_max_bytes=most
            ).out
        except Permanent as fault:
            if fault.code != "git_output_too_long":
                raise
            packs.refuse_size("its changed files", f"{self.limits.files} files")
        tokens = iter(out.split(b"\0"))
        for token in tokens:
            if token.lstrip(b"\n").startswith(b":"):
                _, mode, _, blob, _ = token.decode().split()
                yield _Entry(mode, blob, next(tokens, b""))

    def _check_links(self, links: Sequence[_Entry]) -> None:
        if len(links) > _LINKS_MAX:
            packs.refuse_size(f"{len(links)} symbolic links", f"{_LINKS_MAX} of them")
        for one in links:
            try:
                target = self._ask("cat-file", "blob", one.blob)
            except Permanent:
                target = b"/"  # too long to be one
            path = one.path.decode()
            if treerules.leads_outside(path, target):
                raise Permanent(
                    "link_leads_outside",
                    f"The run committed {path[:200]!r}, a symbolic link that leads out of the repository.",
                    hint=_RETRY,
                )

    def _contents(self, commits: Sequence[str]) -> dict[str, bytes]:
        """Each commit's raw text; an object that lies about itself was refused before."""
        most = 8 * 1024 * 1024 + self.limits.commits * 2 * trailers.MESSAGE_MAX_CHARS
        asked = "".join(f"{one}\n" for one in commits).encode()
        try:
            out = self.git("cat-file", "--batch", git_dir=self.git_dir, told=asked, output_max_bytes=most).out
        except Permanent as fault:
            if fault.code != "git_output_too_long":
                raise
            packs.refuse_size("its commit messages", f"{most} bytes")
        found, at = {}, 0
        for one in commits:
            end = out.index(b"\n", at)
            size = int(out[at:end].split()[2])
            found[one] = out[end + 1 : end + 1 + size]
            at = end + size + 2
        return found

    def _ask(self, *words: str) -> bytes:
        return self.git(*words, git_dir=self.git_dir, output_max_bytes=64 * 1024).out

    def _trusting_nothing(self, *words: str, told: BinaryIO | None = None) -> bytes:
        """A failure here is the bundle's fault, unless the machine is at fault."""
        try:
            return self.git(*words, git_dir=self.git_dir, told=told).out
        except Transient as fault:
            if any(sign in fault.message for sign in _OF_THE_MACHINE) or fault.code != "git_failed":
                raise
            _bad_objects(fault.message)


def _bad_objects(said: str) -> NoReturn:
    raise Permanent(
        "bad_objects",
        f"The run's objects are damaged or forged, so they were not taken over. {said}",
        hint=_RETRY,
    )


def _check_entry(one: _Entry) -> None:
    """Removing is always allowed."""
    if not one.blob.strip("0"):
        return
    shown = one.path.decode(errors="replace")[:200]
    if one.mode == treerules.SUBMODULE_MODE:
        raise Permanent(
            "submodule", f"The run committed {shown!r}, a submodule: it would bring in foreign code.", hint=_RETRY
        )
    if why := treerules.fault_in_path(one.path):
        raise Permanent("bad_path", f"The run committed {shown!r}, which is not taken over: {why}.", hint=_RETRY)


def _signature(spec: RunSpec, paths: RunPaths, model: str) -> Signature:
    name, email = launcher.identity(spec.role)
    said = {
        "Orch-Task": spec.task_key,
        "Orch-Run": str(int(spec.run)),
        "Orch-Role": str(spec.role),
        "Orch-Model": model or "unknown",
        "Orch-Prompt-Digest": launcher.read_digest(paths) or "unknown",
    }
    return Signature(name, email, tuple((key, _one_word(value)) for key, value in said.items()))


def _one_word(value: str) -> str:
    """The model's name comes from the run's log, which an agent might have written."""
    kept = "".join(char for char in value[:100] if char.isascii() and (char.isalnum() or char in "-_.:[]/"))
    return kept or "unknown"


def _env(paths: RunPaths, search_path: str) -> dict[str, str]:
    return {
        "PATH": search_path,
        "HOME": str(paths.home),  # by which what is left of a run is found
        "TMPDIR": str(paths.tmp),
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": "none",
    }


def _opened(path: Path) -> BinaryIO:
    """Ours, and made by us in the run's folder; but an agent without a sandbox can write there."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise Permanent("bad_bundle", f"{path.name} in the run's folder is no plain file.", hint=_RETRY)
    return os.fdopen(fd, "rb")


def _first_word(path: Path) -> str:
    with _opened(path) as file:
        return file.read(100).decode(errors="replace").strip()


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0

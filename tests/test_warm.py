"""A forked service is a process of its own, and ends as one that was started by its command does."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import warm
from orchestrator.sim.world import Service, Starter, executed
from support import until

FREE = ("--allow-unsigned-loopback",)


def test_it_leads_a_session_of_its_own_in_its_own_folder_and_says_so_in_its_own_log(tmp_path: Path) -> None:
    with Service(tmp_path, {"ORCH_PORT": "0"}, FREE, starter=warm.started) as service:
        assert service.process is not None
        pid = service.process.pid
        assert os.getsid(pid) == os.getpgid(pid) == pid
        assert Path(f"/proc/{pid}/cwd").readlink() == tmp_path
        assert {Path(f"/proc/{pid}/fd/{fd}").readlink() for fd in (1, 2)} == {service.log}
        assert Path(f"/proc/{pid}/fd/0").readlink() == Path(os.devnull)
        assert (tmp_path / "data" / "orchestrator.db").exists()
        assert service.process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            service.process.wait(0.01)
    assert service.process.poll() == -signal.SIGTERM


def test_two_know_nothing_of_each_other(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    one, two = (Service(folder, {"ORCH_PORT": "0"}, FREE, starter=warm.started) for folder in folders)
    with one, two:
        assert one.url != two.url
        assert one.kill() == -signal.SIGKILL
        assert two.process is not None
        assert two.process.poll() is None


@pytest.mark.parametrize("starter", [executed, warm.started])
def test_a_refused_start_has_the_same_code_and_words(tmp_path: Path, starter: Starter) -> None:
    service = Service(tmp_path, {"ORCH_PORT": "x"}, starter=starter)
    with pytest.raises(RuntimeError, match="ORCH_PORT"):
        service.start()
    assert service.process is not None
    assert service.process.wait(10) == 3


@pytest.mark.parametrize(("command", "code"), [(("version",), 0), (("config", "validate", "none.yaml"), 3)])
def test_a_forked_command_says_and_leaves_what_an_executed_one_does(
    tmp_path: Path, command: tuple[str, ...], code: int
) -> None:
    forked, real = warm.orch(*command, cwd=tmp_path), warm.executed(*command, cwd=tmp_path)
    assert (forked.returncode, forked.stdout, forked.stderr) == (code, real.stdout, real.stderr)
    assert real.returncode == code
    assert real.stdout + real.stderr
    assert list(tmp_path.iterdir()) == []


def test_it_ends_with_the_process_that_forked_it(tmp_path: Path) -> None:
    """So nothing outlives a worker that is killed."""
    code = (
        "import os, sys, time, warm; from pathlib import Path; root = Path(sys.argv[1])\n"
        "one = warm.started(('serve', *sys.argv[2:]), {'ORCH_PORT': '0'}, root, root / 'log')\n"
        "print(one.pid, flush=True); time.sleep(100)\n"
    )
    program = [sys.executable, "-c", code, str(tmp_path), *FREE]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen(program, env=environ, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        pid = int(worker.stdout.readline())
        until(lambda: '"serving"' in (tmp_path / "log").read_text(), "it serves")
        worker.kill()
    until(lambda: not Path(f"/proc/{pid}/cwd").exists(), "it has ended")

"""What the scripted agent's tools do: they really read, write and run commands."""

import os
import signal

from orchestrator.sim.script import Bash, Read, Tool, Write

MAX_READ_BYTES = 256 * 1024
DAEMON_S = 300


def perform(tool: Tool, cwd: str) -> tuple[str, bool]:
    """Really does what the tool call says; the text for the model, and whether it is an error."""
    try:
        match tool:
            case Read(path=path):
                with open(path, "rb") as file:
                    return file.read(MAX_READ_BYTES).decode(errors="replace"), False
            case Write(path=path, content=content):
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "w", encoding="utf-8") as file:
                    file.write(content)
                return f"File created successfully at: {path}", False
            case Bash(commands=commands, timeout_s=timeout_s):
                return run_commands(commands, cwd, timeout_s)
    except OSError as error:
        return f"{type(error).__name__}: {error.strerror}", True


def run_commands(commands: tuple[tuple[str, ...], ...], cwd: str, timeout_s: int) -> tuple[str, bool]:
    """Each command in a session of its own, like the real CLI's Bash tool: killing our group does not reach it."""
    import subprocess  # noqa: PLC0415, TID251 - who judges runs none; the agent's own tools: git, sleep, as argv

    said = ""
    for command in commands:
        child = subprocess.Popen(
            command,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            output, _ = child.communicate(timeout=timeout_s)
        except BaseException as error:  # interrupted, ended or too slow: the tool ends with us, as the real one's
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                return f"Command timed out after {timeout_s} s", True
            raise
        said += output.decode(errors="replace")
        if child.returncode != 0:
            return f"Exit code {child.returncode}\n{said}".strip(), True
    return said.strip() or "(Bash completed with no output)", False


def leave_a_daemon_behind() -> None:
    """A grandchild in a session of its own, as an agent's `setsid x &` leaves it."""
    import subprocess  # noqa: PLC0415, TID251 - as above

    subprocess.Popen(
        ["sleep", str(DAEMON_S)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

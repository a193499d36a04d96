"""The scripted agent that attacks. Prints what got through as one JSON object, then waits to be stopped.

Run by a bare interpreter inside the sandbox, as a tool of the CLI: standard library only. Its argument is a file
that says where things are.
"""

import contextlib
import ctypes
import errno
import json
import mmap
import os
import platform
import signal
import socket
import struct
import subprocess
import sys
import time

with open(sys.argv[1]) as told:
    AIM = json.load(told)
LIBC = ctypes.CDLL(None, use_errno=True)
X86 = platform.machine() == "x86_64"
CLONE_NEWUSER = 0x10000000
MIB = 1 << 20


def syscall(x86: int, arm: int, *args: object) -> int:
    whole = (ctypes.c_long(one) if isinstance(one, int) else one for one in args)
    answer = LIBC.syscall(ctypes.c_long(x86 if X86 else arm), *whole)
    if answer < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return int(answer)


def read_secret_file() -> bool:
    return b"secret" in open(AIM["secret"], "rb").read()


def read_secret_through_symlink() -> bool:
    os.symlink(AIM["secret"], "soft")
    return b"secret" in open("soft", "rb").read()


def read_secret_through_hard_link() -> bool:
    os.link(AIM["secret"], "hard")
    return b"secret" in open("hard", "rb").read()


def list_private_folder() -> bool:
    return bool(os.listdir(AIM["private"]))


def read_environment_of_the_orchestrator() -> bool:
    return b"SECRET" in open(f"/proc/{AIM['victim']}/environ", "rb").read()


def attach_to_the_orchestrator() -> bool:
    attach, detach = 16, 17
    syscall(101, 117, attach, AIM["victim"], 0, 0)
    os.waitpid(AIM["victim"], 0x40000000)
    syscall(101, 117, detach, AIM["victim"], 0, 0)
    return True


def signal_the_orchestrator() -> bool:
    os.kill(AIM["victim"], signal.SIGURG)
    return True


def write_into_another_run() -> bool:
    with open(AIM["other_run"] + "/planted", "w") as file:
        file.write("x")
    return True


def write_into_the_database() -> bool:
    with open(AIM["database"], "r+b") as file:
        file.write(b"x")
    return True


def connect_by_tcp() -> bool:
    with socket.create_connection(("127.0.0.1", AIM["tcp"]), 2):
        return True


def send_udp() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        return one.sendto(b"x", ("127.0.0.1", AIM["udp"])) == 1


def connect_to_a_unix_socket() -> bool:
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(AIM["unix"])
        return True


def connect_to_an_abstract_socket() -> bool:
    with socket.socket(socket.AF_UNIX) as one:
        one.connect("\0" + AIM["abstract"])
        return True


def make_a_user_namespace() -> bool:
    child = os.fork()
    if child == 0:
        os._exit(0 if LIBC.unshare(CLONE_NEWUSER) == 0 else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def use_io_uring() -> bool:
    os.close(syscall(425, 425, 4, ctypes.create_string_buffer(200)))
    return True


def add_a_key() -> bool:
    return syscall(248, 217, b"user", b"orch-attack", b"x", 1, -1) > 0


def list_all_processes() -> bool:
    return b"victim" in open(f"/proc/{AIM['victim']}/cmdline", "rb").read()


def allocate_too_much() -> bool:
    piece = mmap.mmap(-1, AIM["memory"] + 600 * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    piece.close()
    return True


def write_a_file_too_large() -> bool:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with open("large", "wb") as file:
        file.truncate(AIM["file"] + 200 * MIB)
    return True


def fork_300_times() -> bool:
    made: list[int] = []
    try:
        for _ in range(300):
            pid = os.fork()
            if pid == 0:
                signal.pause()
                os._exit(0)
            made.append(pid)
    except BlockingIOError:
        return False
    finally:
        for pid in made:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return True


def leave_a_daemon() -> bool:
    """Whether it survives is seen from outside."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.closerange(0, 100)
            for _ in range(3):
                os.open("/dev/null", os.O_RDWR)
            os.execve(sys.executable, ["daemon", "-IS", "-c", "import time; time.sleep(600)", AIM["mark"]], {})
        os._exit(0)
    os.wait()
    return False


# --- the holes that were found when the policy was measured


def connect_by_mptcp() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262) as one:
        one.settimeout(2)
        one.connect(("127.0.0.1", AIM["tcp"]))
        return True


def connect_by_fast_open() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as one:
        return one.sendto(b"x", 0x20000000, ("127.0.0.1", AIM["tcp"])) >= 0


def connect_by_fast_open_message() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as one:
        return one.sendmsg([b"x"], [], 0x20000000, ("127.0.0.1", AIM["tcp"])) >= 0


def read_memory_of_the_orchestrator() -> bool:
    """The pages are where the process says; any readable byte will do."""
    place = int(open(f"/proc/{AIM['victim']}/maps").readline().split("-")[0], 16)
    with open(f"/proc/{AIM['victim']}/mem", "rb", 0) as memory:
        memory.seek(place)
        return len(memory.read(16)) == 16


def read_memory_by_process_vm() -> bool:
    buffer = ctypes.create_string_buffer(16)
    local = struct.pack("PN", ctypes.addressof(buffer), 16)
    remote = struct.pack("PN", AIM["address"], 16)
    return syscall(310, 270, AIM["victim"], local, 1, remote, 1, 0) == 16


def make_shared_memory() -> bool:
    made = syscall(29, 194, 0, 4096, 0o1600)
    syscall(31, 195, made, 0, None)
    return True


def change_mode_of_a_foreign_file() -> bool:
    os.chmod(AIM["mode"], 0o644)
    return True


def truncate_a_foreign_file() -> bool:
    os.truncate(AIM["truncated"], 0)
    return True


def set_a_set_id_bit() -> bool:
    open("tool", "w").close()
    os.chmod("tool", 0o4755)
    return True


def open_a_raw_socket() -> bool:
    socket.socket(socket.AF_INET, socket.SOCK_RAW, 1).close()
    return True


def open_a_packet_socket() -> bool:
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
    return True


def open_a_netlink_socket() -> bool:
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close()
    return True


def listen_without_bind() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as one:
        one.listen(1)
        return True


def listen_on_a_port() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as one:
        one.bind(("127.0.0.1", 0))
        return True


def change_personality() -> bool:
    no_random_addresses = 0x0040000
    before = syscall(135, 92, no_random_addresses)
    syscall(135, 92, before)
    return True


def mount_something() -> bool:
    if LIBC.mount(b"none", os.getcwdb(), b"tmpfs", 0, None) != 0:
        return False
    LIBC.umount(os.getcwdb())
    return True


def keep_rights_of_root() -> bool:
    header, rights = struct.pack("Ii", 0x20080522, 0), ctypes.create_string_buffer(24)
    if LIBC.capget(header, rights) != 0:
        return False
    effective_low, permitted_low, _, effective_high, permitted_high, _ = struct.unpack("6I", rights.raw)
    return bool(effective_low or permitted_low or effective_high or permitted_high)


def read_environment_of_the_cli() -> bool:
    return b"HOME=" in open(f"/proc/{os.getppid()}/environ", "rb").read()


def read_credential_in_the_memory_of_the_cli() -> bool:
    """As a tool would: every writable piece of the parent's memory. The words are put together here only."""
    sought, parent = AIM["credential"].replace("_", "-").encode(), os.getppid()
    with open(f"/proc/{parent}/maps") as maps, open(f"/proc/{parent}/mem", "rb", 0) as memory:
        for line in maps:
            words = line.split()
            if not words[1].startswith("rw"):
                continue
            begin, end = (int(word, 16) for word in words[0].split("-"))
            memory.seek(begin)
            with contextlib.suppress(OSError, OverflowError):
                if sought in memory.read(end - begin):
                    return True
    return False


def open_descriptors_of_the_cli() -> bool:
    """Whether its pipes are there at all; that they are empty is another matter."""
    os.close(os.open(f"/proc/{os.getppid()}/fd/3", os.O_RDONLY | os.O_NONBLOCK))
    return True


def leave_a_shared_memory_file_for_the_next_run() -> bool:
    """Whether it is still there after the end is seen from outside."""
    with open(f"/dev/shm/{AIM['mark']}", "x") as file:
        file.write("x")
    return False


def fill_a_memory_file_system() -> bool:
    """All of them together: neither the limit on memory nor that on the disk counts what lies there."""
    held: list[str] = []
    try:
        for place in ("/dev/shm", "/tmp", "/dev", "/run", "/var/tmp", "/"):
            with contextlib.suppress(OSError):
                while len(held) * MIB <= AIM["fill"]:
                    one = os.open(f"{place}/{AIM['mark']}-{len(held)}", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
                    try:
                        os.posix_fallocate(one, 0, MIB)
                    except OSError:
                        os.unlink(f"{place}/{AIM['mark']}-{len(held)}")
                        raise
                    finally:
                        os.close(one)
                    held.append(f"{place}/{AIM['mark']}-{len(held)}")
        return len(held) * MIB > AIM["fill"]
    finally:
        for name in held:
            os.unlink(name)


# --- what must work


def write_in_the_workspace() -> bool:
    with open("written", "w") as file:
        file.write("x")
    return os.path.getsize("written") == 1


def git_status() -> bool:
    done = subprocess.run(["git", "status", "--short"], capture_output=True, timeout=60)
    return done.returncode == 0 and b"written" in done.stdout


ATTACKS = (
    read_secret_file,
    read_secret_through_symlink,
    read_secret_through_hard_link,
    list_private_folder,
    read_environment_of_the_orchestrator,
    attach_to_the_orchestrator,
    signal_the_orchestrator,
    write_into_another_run,
    write_into_the_database,
    connect_by_tcp,
    send_udp,
    connect_to_a_unix_socket,
    connect_to_an_abstract_socket,
    make_a_user_namespace,
    use_io_uring,
    add_a_key,
    list_all_processes,
    allocate_too_much,
    write_a_file_too_large,
    fork_300_times,
    leave_a_daemon,
)
HOLES = (
    connect_by_mptcp,
    connect_by_fast_open,
    connect_by_fast_open_message,
    read_memory_of_the_orchestrator,
    read_memory_by_process_vm,
    make_shared_memory,
    change_mode_of_a_foreign_file,
    truncate_a_foreign_file,
    set_a_set_id_bit,
    open_a_raw_socket,
    open_a_packet_socket,
    open_a_netlink_socket,
    listen_without_bind,
    listen_on_a_port,
    change_personality,
    mount_something,
    keep_rights_of_root,
    read_environment_of_the_cli,
    read_credential_in_the_memory_of_the_cli,
    open_descriptors_of_the_cli,
    leave_a_shared_memory_file_for_the_next_run,
    fill_a_memory_file_system,
)
MUST_WORK = (write_in_the_workspace, git_status)


def tried(attempt: object) -> str:
    try:
        return "through" if attempt() else "refused"  # type: ignore[operator]
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    except Exception as error:  # noqa: BLE001
        return repr(error)


if __name__ == "__main__":
    wanted = AIM.get("only")
    every = [one for one in (*ATTACKS, *HOLES, *MUST_WORK) if wanted is None or one.__name__ in wanted]
    print(json.dumps({one.__name__: tried(one) for one in every}), flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(60)

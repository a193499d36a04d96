"""The files that deploy the service keep their promises, and nginx really passes deliveries on."""

import asyncio
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, MutableMapping
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from packaging.requirements import Requirement

from orchestrator import config, configfile
from orchestrator.sim.server import LoopbackServer
from orchestrator.sim.webhook import load_recorded
from orchestrator.sim.world import Service
from proxies import LIMIT_S, NGINX, nginx
from support import FIXTURES, ROOT

UNIT = ROOT / "deploy" / "orchestrator.service"
DEPLOYED = [
    ROOT / name
    for name in (
        "Dockerfile",
        "docker-compose.yml",
        "docker-compose.network.yml",
        "deploy/nginx.conf",
        "deploy/orchestrator.service",
        "deploy/README.md",
    )
]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
MAX_BODY_BYTES = config.Settings().max_body_bytes
PREFIX = "/orchestrator"


def composed(name: str = "docker-compose.yml") -> dict[str, Any]:
    found = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def service() -> dict[str, Any]:
    found = composed()["services"]["orchestrator"]
    assert isinstance(found, dict)
    return found


def mount(target: str) -> dict[str, Any]:
    (found,) = [one for one in service()["volumes"] if one["target"] == target]
    assert isinstance(found, dict)
    return found


# --- all of them


@pytest.mark.parametrize("file", DEPLOYED, ids=lambda file: file.name)
def test_every_setting_that_is_named_exists(file: Path) -> None:
    named = set(re.findall(r"\bORCH_[A-Z][A-Z_]*[A-Z]\b", file.read_text(encoding="utf-8")))
    assert named - set(config.setting_names()) == set()


def test_the_example_of_the_configuration_is_one_that_starts() -> None:
    text = (ROOT / "orchestrator.yaml.example").read_text(encoding="utf-8")
    (project,) = configfile.parse(text).projects
    assert str(project.repo) == "acme/enduro-trails"
    assert len(project.approvers) == 1


def test_the_example_of_the_configuration_shows_the_defaults() -> None:
    text = (ROOT / "orchestrator.yaml.example").read_text(encoding="utf-8")
    shown = configfile.parse(text).projects[0]
    bare = f"projects:\n  - plane_project: {shown.id}\n    repository: {shown.repo}\n"
    default = configfile.parse(bare).projects[0]
    for name in ("base_branch", "language", "trigger", "gates", "documents"):
        assert getattr(shown, name) == getattr(default, name), name


# --- the image


def final_stage() -> str:
    return DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]


def test_the_base_image_can_be_replaced_and_needs_no_registry_syntax() -> None:
    assert DOCKERFILE.count("ARG PYTHON_IMAGE=python:3.12-slim") == 1
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == ["${PYTHON_IMAGE}"] * 3
    assert "# syntax=" not in DOCKERFILE


def test_the_cli_in_the_image_is_the_one_that_the_installer_pins() -> None:
    assert "COPY scripts/install_claude.py" in DOCKERFILE
    assert "python /build/install_claude.py --into /opt/claude\n" in DOCKERFILE
    assert "COPY --from=cli --chown=0:0 --chmod=0111 /opt/claude/claude /usr/local/bin/claude\n" in final_stage()
    assert re.search(r"\b\d+\.\d+\.\d{3}\b", DOCKERFILE) is None, "a second place for the CLI's version"


def test_every_package_in_the_image_is_checked_by_hash() -> None:
    installs = re.findall(r"pip .*?\binstall\b(.*?)(?: \\| &&|\n)", DOCKERFILE)
    assert len(installs) == 3
    assert all("--require-hashes" in one or "--no-index" in one for one in installs)


def test_what_builds_the_wheel_is_pinned_as_in_development() -> None:
    wanted = pins("requirements-build.txt")
    assert wanted.items() <= pins("requirements-dev.txt").items()
    assert f'requires = ["hatchling=={wanted["hatchling"][0]}"]' in (ROOT / "pyproject.toml").read_text()


def test_nothing_that_builds_the_wheel_is_missing() -> None:
    """With --require-hashes a single requirement that is not listed ends the build."""
    listed = pins("requirements-build.txt").keys()
    needed = {
        need.name
        for who in listed
        for need in map(Requirement, requires(who) or ())
        if need.marker is None or need.marker.evaluate({"extra": "", "python_version": "3.12"})
    }
    assert {"packaging", "pathspec"} <= needed <= listed


def pins(name: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Package → version and hashes."""
    text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
    entries = re.findall(r"^([a-z0-9][\w.-]*)==(\S+)(.*)$", text, re.MULTILINE)
    return {who: (version, tuple(re.findall(r"sha256:\w+", rest))) for who, version, rest in entries}


def test_the_image_ends_without_build_tools_and_without_root() -> None:
    stage = final_stage()
    installed = re.findall(r"install -y -qq --no-install-recommends ([^>]*)>", stage)
    assert [one.split() for one in installed] == [["ca-certificates", "git"]]
    assert "rm -rf /var/lib/apt/lists/*" in stage
    assert re.findall(r"^USER (.*)$", stage, re.MULTILINE) == ["1000:1000"]
    assert stage.index("\nUSER ") > stage.rindex("\nRUN ")
    assert "install -d -o orchestrator -g orchestrator -m 0700 /app/data" in stage


def test_the_image_starts_the_service_and_asks_for_its_health() -> None:
    stage = final_stage()
    assert 'ENTRYPOINT ["orch"]\nCMD ["serve"]\n' in stage
    assert "STOPSIGNAL SIGTERM" in stage
    check = re.search(r'HEALTHCHECK .*CMD \["/opt/venv/bin/python", "-I", "-c", "(.*?)"\]', stage, re.DOTALL)
    assert check is not None
    compile(check[1].replace("\\\n", ""), "healthcheck", "exec")
    assert "'/health'" in check[1]


def test_nothing_enters_the_build_but_what_the_image_is_made_of() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = {
        source.removeprefix("./")
        for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    }
    assert let_in == copied
    assert all((ROOT / name).exists() for name in copied)


# --- compose


def test_the_container_has_no_rights_that_it_does_not_need() -> None:
    one = service()
    assert one["read_only"] is True
    assert one["cap_drop"] == ["ALL"]
    assert one["security_opt"] == ["no-new-privileges:true"]
    assert one["init"] is True
    assert one["pids_limit"] > 0
    assert one["mem_limit"]
    assert (
        not {"privileged", "cap_add", "devices", "network_mode", "pid", "ipc", "user", "userns_mode"} & one.keys()
    )
    assert "docker.sock" not in str(one)


def test_the_container_is_reached_from_this_machine_alone() -> None:
    assert service()["ports"] == ["127.0.0.1:${PUBLISHED_PORT:-8500}:8500"]


def test_the_container_is_named_restarted_and_watched() -> None:
    one = service()
    assert (one["container_name"], one["restart"], one["env_file"]) == ("orchestrator", "unless-stopped", ".env")
    assert "test" not in one["healthcheck"], "the image's own check is the only one"
    assert {"max-size", "max-file"} <= one["logging"]["options"].keys()
    assert "host.docker.internal:host-gateway" in one["extra_hosts"]


def test_data_lies_in_a_named_volume_and_all_else_is_read_only() -> None:
    assert mount("/app/data") == {"type": "volume", "source": "data", "target": "/app/data"}
    assert composed()["volumes"] == {"data": None}
    assert {one["target"] for one in service()["volumes"] if not one.get("read_only")} == {"/app/data"}
    assert mount("/repos")["source"] == "${REPOS_FOLDER:-./repos}"
    # Said outright: releases of compose differ in what they do with a missing folder otherwise.
    assert mount("/repos")["bind"] == {"create_host_path": True}


def test_a_missing_configuration_file_does_not_become_a_folder() -> None:
    assert mount("/app/orchestrator.yaml")["bind"] == {"create_host_path": False}


def test_agents_may_run_what_they_unpack_in_a_bounded_tmp() -> None:
    (tmp,) = service()["tmpfs"]
    path, _, options = tmp.partition(":")
    assert path == "/tmp"
    assert {"exec", "nosuid", "nodev"} <= set(options.split(","))
    assert re.search(r"size=\d", options)


def test_what_compose_sets_is_what_the_image_sets() -> None:
    said = dict(re.findall(r"\b(ORCH_[A-Z_]+)=(\S+)", final_stage()))
    assert service()["environment"] == said


def test_no_variable_of_the_compose_files_is_mistaken_for_a_setting() -> None:
    files = [(ROOT / name).read_text() for name in ("docker-compose.yml", "docker-compose.network.yml")]
    variables = {name for text in files for name in re.findall(r"\$\{(\w+)", text)}
    assert len(variables) == 5
    assert not [name for name in variables if name.startswith(config.PREFIX)]


def test_the_shared_network_gives_the_service_a_name_with_a_dot() -> None:
    extra = composed("docker-compose.network.yml")
    networks = extra["services"]["orchestrator"]["networks"]
    assert networks == {"default": {}, "shared": {"aliases": ["orchestrator.internal"]}}
    assert extra["networks"]["shared"]["external"] is True


# --- systemd


def unit_lines() -> list[str]:
    return [line for line in UNIT.read_text(encoding="utf-8").splitlines() if line and line[0] not in "#["]


@pytest.mark.parametrize(
    "line",
    [
        "KillMode=process",  # or a restart would kill the agents that it is meant to take up again
        "OOMPolicy=continue",  # or an agent's build that eats the memory would end the service
        "Restart=on-failure",
        "RestartPreventExitStatus=3",
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        "ProtectSystem=strict",
        "ProtectHome=yes",
        "StateDirectory=orchestrator",
        "Environment=ORCH_DATA_DIR=/var/lib/orchestrator",
        "ExecStart=/opt/orchestrator/.venv/bin/orch serve",
    ],
)
def test_the_unit_says(line: str) -> None:
    assert line in unit_lines()


def test_the_unit_takes_no_tmp_away_from_agents_that_outlive_it() -> None:
    assert not [line for line in unit_lines() if line.startswith(("PrivateTmp", "RuntimeDirectory"))]
    assert any(line.startswith("TemporaryFileSystem=/tmp:") for line in unit_lines())


def test_what_the_unit_leaves_open_is_not_also_closed() -> None:
    """Each of these breaks what agents do; the unit says how."""
    names = {line.partition("=")[0] for line in unit_lines()}
    assert not names & {"MemoryDenyWriteExecute", "NoExecPaths", "RestrictNamespaces", "ProtectProc", "ProcSubset"}


def test_systemd_understands_the_whole_unit(tmp_path: Path) -> None:
    checker = shutil.which("systemd-analyze")
    if checker is None:
        pytest.skip("systemd-analyze is not installed (package systemd), so the unit was only read as text")
    copy = tmp_path / UNIT.name
    # It insists on a program that is there.
    copy.write_text(UNIT.read_text().replace("/opt/orchestrator/.venv/bin/orch", "/bin/true"))
    done = subprocess.run(
        [checker, "verify", "--man=no", "--recursive-errors=no", str(copy)],
        capture_output=True,
        timeout=LIMIT_S,
        check=False,
    )
    said = [line for line in done.stderr.decode().splitlines() if UNIT.name in line]
    assert (done.returncode, said) == (0, [])


# --- nginx


class Echo:
    """In the service's place: tells what of a request arrives."""

    async def __call__(
        self, scope: MutableMapping[str, Any], receive: Callable[..., Any], send: Callable[..., Any]
    ) -> None:
        headers = [*scope["headers"], (b"x-path", scope["path"].encode())]
        names = (b"host", b"forwarded", b"connection", b"x-path")
        told = [(b"seen-" + n, v) for n, v in headers if n in names or n.startswith((b"x-real", b"x-forw"))]
        await send({"type": "http.response.start", "status": 200, "headers": told})
        await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def echoed() -> Iterator[httpx.Client]:
    with LoopbackServer(Echo()) as server, nginx(server.url) as client:
        yield client


def test_nginx_lets_as_large_a_body_through_as_the_service() -> None:
    sizes = re.findall(r"client_max_body_size (\d+)m;", NGINX.read_text())
    assert [int(size) * 1024 * 1024 for size in sizes] == [MAX_BODY_BYTES]


@pytest.mark.parametrize(
    ("asked", "arrives"),
    [
        ("/orchestrator/", "/"),
        ("/orchestrator/status", "/status"),
        ("/orchestrator/webhook/plane", "/webhook/plane"),
        ("/orchestrator/webhook/gitea", "/webhook/gitea"),
    ],
)
def test_nginx_takes_the_prefix_away(echoed: httpx.Client, asked: str, arrives: str) -> None:
    answer = echoed.get(asked)
    assert (answer.status_code, answer.headers["seen-x-path"]) == (200, arrives)


@pytest.mark.parametrize("path", ["/orchestrator/status", "/orchestrator/webhook/gitea"])
def test_nginx_lets_no_client_write_the_forwarding_headers(echoed: httpx.Client, path: str) -> None:
    forged = {"X-Forwarded-For": "127.0.0.1", "X-Real-IP": "127.0.0.1", "Forwarded": "for=127.0.0.1"}
    forged |= {"X-Forwarded-Host": "localhost", "X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/x"}
    seen = echoed.get(path, headers=forged).headers
    assert seen["seen-host"] == "your.host"
    assert seen["seen-x-forwarded-host"] == "your.host"
    assert seen["seen-x-forwarded-proto"] == "http"
    assert seen["seen-x-forwarded-prefix"] == PREFIX
    assert seen["seen-x-forwarded-for"] == seen["seen-x-real-ip"] == "unix:"
    assert "seen-forwarded" not in seen


def test_nginx_leads_to_the_folder_on_the_same_host(echoed: httpx.Client) -> None:
    answer = echoed.get("/orchestrator", headers={"Host": "your.host:8443"})
    assert (answer.status_code, answer.headers["location"]) == (308, "/orchestrator/")


def test_nginx_refuses_a_body_over_the_limit_and_passes_one_at_it(echoed: httpx.Client) -> None:
    path = "/orchestrator/webhook/gitea"
    assert echoed.post(path, content=bytes(MAX_BODY_BYTES)).status_code == 200
    assert echoed.post(path, content=bytes(MAX_BODY_BYTES + 1)).status_code == 413


def test_nginx_is_told_to_hold_nothing_back() -> None:
    """Whether a buffer shows depends on how an answer is framed and on how fast its reader is."""
    assert re.findall(r"^    proxy_buffering (\w+);", NGINX.read_text(encoding="utf-8"), re.MULTILINE) == ["off"]


def test_nginx_passes_every_line_of_a_live_log_at_once() -> None:
    """The second line is sent only after the first one has arrived, so that a buffer would never fill."""
    live = LiveLog()
    with (
        LoopbackServer(live) as server,
        nginx(server.url) as client,
        client.stream("GET", "/orchestrator/live") as answer,
    ):
        lines = answer.iter_lines()
        assert next(lines) == "data: first"
        live.arrived.set()
        assert "data: second" in list(lines)


class LiveLog:
    """One line, then another that says whether the first one had arrived by then."""

    def __init__(self) -> None:
        self.arrived = threading.Event()

    async def __call__(
        self, scope: MutableMapping[str, Any], receive: Callable[..., Any], send: Callable[..., Any]
    ) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"data: first\n\n", "more_body": True})
        has_arrived = await asyncio.to_thread(self.arrived.wait, LIMIT_S / 2)
        last = b"data: second\n\n" if has_arrived else b"data: nobody listened\n\n"
        await send({"type": "http.response.body", "body": last})


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Service]:
    root = tmp_path / "service"
    root.mkdir()
    environ = {
        "ORCH_PORT": "0",
        "ORCH_PLANE_WEBHOOK_SECRET": "s3cret",
        "ORCH_GITEA_WEBHOOK_SECRET": "s3cret",
        "ORCH_PUBLIC_URL": f"https://your.host{PREFIX}",
    }
    with Service(root, environ) as started:
        yield started


def test_a_signed_delivery_reaches_the_service_through_nginx(running: Service) -> None:
    push = load_recorded(FIXTURES / "gitea" / "push.json")
    with nginx(running.url) as client:
        assert client.get("/orchestrator/health").json() == {"status": "ok", "service": "orchestrator"}
        answer = client.post("/orchestrator/webhook/gitea", content=push.body, headers=push.headers)
        assert (answer.status_code, answer.json()) == (200, {"status": "accepted"})
        # nginx speaks from loopback, here to localhost: it must not pass for this machine's own user.
        assert client.get("/orchestrator/status", headers={"Host": "localhost"}).status_code == 403
    assert httpx.get(f"{running.url}/status").status_code == 200


def test_a_proxy_that_keeps_the_prefix_works_too(running: Service) -> None:
    push = load_recorded(FIXTURES / "gitea" / "push.json")
    answer = httpx.post(f"{running.url}{PREFIX}/webhook/gitea", content=push.body, headers=push.headers)
    assert (answer.status_code, answer.json()) == (200, {"status": "accepted"})


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_requirement_is_pinned_by_its_content_and_names_no_index(name: str) -> None:
    text = (ROOT / name).read_text()
    pinned = re.findall(r"^([a-z0-9][^\s=]*)==\S+(.*(?:\n    .*)*)", text, re.MULTILINE)
    assert len(pinned) > 20
    assert [package for package, rest in pinned if "--hash=sha256:" not in rest] == []
    assert not re.search(r"^\s*(-i|--index-url|--extra-index-url|--find-links)\b|https?://", text, re.MULTILINE)
    assert not (ROOT / "uv.lock").exists()


def test_in_ci_no_test_may_be_skipped() -> None:
    assert "\nTESTS_MAY_NOT_SKIP=1 make test\n" in (ROOT / ".ci" / "run").read_text()

"""Settings: one clear line per fault, secrets by file, nothing contradictory starts."""

from pathlib import Path

import pytest

from certificates import authority
from orchestrator import config
from orchestrator.config import Settings, SettingsFault, load
from orchestrator.configfile import Directory
from orchestrator.main import build

SPECIFIED = {
    "ORCH_PLANE_API_URL", "ORCH_PLANE_API_TOKEN", "ORCH_PLANE_WORKSPACE_SLUG", "ORCH_PLANE_WEBHOOK_SECRET",
    "ORCH_GITEA_URL", "ORCH_GITEA_TOKEN", "ORCH_GITEA_WEBHOOK_SECRET", "ORCH_CLAUDE_BIN", "ORCH_REPOS_DIR",
    "ORCH_DB_PATH",
}  # fmt: skip


def faults(**environ: str) -> list[str]:
    with pytest.raises(SettingsFault) as fault:
        load({f"ORCH_{name}": value for name, value in environ.items()}, None)
    return fault.value.faults


def test_the_specified_names_are_settings() -> None:
    assert set(config.setting_names()) >= SPECIFIED


def test_without_anything_the_defaults_start() -> None:
    settings = load({}, None)
    assert (settings.host, settings.port, settings.max_body_bytes) == ("127.0.0.1", 8500, 5 * 1024 * 1024)
    assert settings.database.startswith("sqlite:////")


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"PORT": "x"}, "ORCH_PORT"),
        ({"PORT": "70000"}, "ORCH_PORT"),
        ({"GITEA_URL": "ftp://x"}, "http://"),
        ({"GITEA_URL": "http://user:pass@x"}, "token setting"),
        ({"GITEA_URL": "http://x/?a=b"}, "query"),
        ({"DB_PATH": "/a", "DATABASE_URL": "sqlite:////b"}, "remove one"),
        ({"DATABASE_URL": "postgresql://x/y"}, "not supported"),
        ({"CLAUDE_OAUTH_TOKEN": "a", "ANTHROPIC_API_KEY": "b"}, "keep one"),
        ({"GITEA_TOKN": "x"}, "Did you mean ORCH_GITEA_TOKEN?"),
        ({"ZZZ": "x"}, ".env.example"),
        ({"GITEA_TOKEN_FILE": "/nonexistent/x"}, "ORCH_GITEA_TOKEN_FILE"),
        ({"GITEA_TOKEN_FILE": "/dev/null"}, "is empty"),
        ({"GITEA_TOKEN_FILE": "/dev/null", "GITEA_TOKEN": "x"}, "are both set"),
        ({"PLANE_WORKSPACE_SLUG": "../x"}, "ORCH_PLANE_WORKSPACE_SLUG"),
        ({"RUN_TIMEOUT_S": "0"}, "ORCH_RUN_TIMEOUT_S"),
        ({"LOG_LEVEL": "loud"}, "ORCH_LOG_LEVEL"),
    ],
)
def test_a_wrong_setting_is_one_clear_line(environ: dict[str, str], says: str) -> None:
    (line,) = faults(**environ)
    assert says in line
    assert "\n" not in line


def test_several_faults_are_several_lines() -> None:
    assert len(faults(PORT="x", GITEA_URL="y", MAX_ATTEMPTS="0")) == 3


def test_faults_of_every_kind_are_told_at_once() -> None:
    found = faults(PORT="x", GITEA_TOKN="t", CLAUDE_OAUTH_TOKEN="a", ANTHROPIC_API_KEY="b", LOG_LEVEL="loud")
    said = ("did you mean", "orch_port", "orch_log_level", "keep one")
    assert len(found) == len(said)
    for part in said:
        assert sum(part in line.lower() for line in found) == 1, part


def test_a_fault_never_shows_a_secret(tmp_path: Path) -> None:
    (tmp_path / "big").write_text("s3cret-value " * 10_000)
    lines = faults(
        GITEA_TOKEN_FILE=str(tmp_path / "big"), CLAUDE_OAUTH_TOKEN="s3cret-value", ANTHROPIC_API_KEY="s3cret-value"
    )
    assert "s3cret-value" not in "".join(lines)


def test_a_secret_file_holds_one_secret_per_line(tmp_path: Path) -> None:
    (tmp_path / "secrets").write_text("new\n\n old \n")
    settings = load({"ORCH_GITEA_WEBHOOK_SECRET_FILE": str(tmp_path / "secrets")}, None)
    assert [secret.get_secret_value() for secret in settings.gitea_webhook_secret] == ["new", "old"]
    assert set(config.secret_values(settings)) == {"new", "old"}


def test_the_environment_is_stronger_than_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("ORCH_PORT=1\nORCH_HOST=0.0.0.0\nORCH_GITEA_TOKEN=\n")
    settings = load({"ORCH_PORT": "2"}, tmp_path / ".env")
    assert (settings.port, settings.host, settings.gitea_token) == (2, "0.0.0.0", ())


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ({}, "sqlite:////data/orchestrator.db"),
        ({"ORCH_DB_PATH": "/elsewhere/own.db"}, "sqlite:////elsewhere/own.db"),
        ({"ORCH_DATABASE_URL": "sqlite:////other/own.db"}, "sqlite:////other/own.db"),
    ],
)
def test_the_database_is_where_one_of_its_settings_says(given: dict[str, str], address: str) -> None:
    settings = load({"ORCH_DATA_DIR": "/data", **given}, None)
    assert settings.database == address
    assert build(settings, Directory()).database.url == address


def test_runs_get_the_proxy_and_the_copies_that_the_settings_name(tmp_path: Path) -> None:
    (tmp_path / "repos").mkdir()
    given = {
        "ORCH_DATA_DIR": str(tmp_path / "data"),
        "ORCH_GITEA_TOKEN": "t",
        "ORCH_CLAUDE_PROXY": "http://proxy.test:3128",
        "ORCH_CLAUDE_CA_CERTS": str((known := authority(tmp_path, "127.0.0.1")).certificates),
        "ORCH_REPOS_DIR": str(tmp_path / "repos"),
    }
    built = build(load(given, None), Directory())
    built._engine()
    assert (runtime := built.runtime) is not None
    assert runtime.route.proxy == "http://proxy.test:3128"
    assert runtime.route.authorities == known.certificates
    assert runtime.workspaces.repos_dir == tmp_path / "repos"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file"),
        ("", "BEGIN CERTIFICATE"),
        ("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n", "BEGIN CERTIFICATE"),
        ("ключ", "BEGIN CERTIFICATE"),
        ("{server}", "no private key"),
        ("{authority}" + "# more\n" * 200_000, "1024 KiB at most"),
    ],
)
def test_what_agents_are_to_trust_has_to_be_certificates(tmp_path: Path, content: str | None, says: str) -> None:
    authority(tmp_path, "127.0.0.1")
    named = {name: (tmp_path / f"{name}.pem").read_text() for name in ("authority", "server")}
    if content is not None:
        (tmp_path / "given.pem").write_text(content.format(**named))
    with pytest.raises(SettingsFault) as fault:
        load({"ORCH_CLAUDE_CA_CERTS": str(tmp_path / "given.pem")}, None)
    (told,) = fault.value.faults
    assert told.startswith("ORCH_CLAUDE_CA_CERTS")
    assert says in told
    assert "nonsense" not in told
    assert "PRIVATE KEY-" not in told


def test_secrets_are_not_in_the_settings_text() -> None:
    assert "s3cret" not in repr(load({"ORCH_GITEA_TOKEN": "s3cret"}, None))


def test_every_setting_has_help_and_every_number_a_unit() -> None:
    for name, field in Settings.model_fields.items():
        extra = field.json_schema_extra
        assert isinstance(extra, dict)
        assert field.description, name
        if field.annotation in {int, float} and name != "port":
            assert extra["unit"], name


def test_work_items_have_an_address_when_browsers_reach_plane_and_the_workspace_is_known() -> None:
    public, slug = {"ORCH_PLANE_PUBLIC_URL": "https://plane.test/"}, {"ORCH_PLANE_WORKSPACE_SLUG": "acme"}
    assert load({**public, **slug}, None).work_items_url == "https://plane.test/acme/browse"
    assert [load(one, None).work_items_url for one in (public, slug)] == ["", ""]


def test_the_path_prefix_comes_from_the_public_address() -> None:
    assert load({"ORCH_PUBLIC_URL": "https://x.test/orchestrator/"}, None).path_prefix == "/orchestrator"
    assert load({}, None).path_prefix == ""

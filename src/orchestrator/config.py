"""Settings: every `ORCH_…` variable with its unit, default and help. Read by `main` and `cli` only.

Sources, strongest first: the environment, the `.env` file, the default. A secret may also be given as
`NAME_FILE`, the path of a file with one secret per line.
"""

import difflib
import os
import re
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

PREFIX = "ORCH_"
MAX_SECRET_FILE_BYTES = 64 * 1024
MAX_CERTIFICATES_BYTES = 1024 * 1024


class SettingsFault(Exception):
    """The settings cannot be used; `faults` has one clear line for each reason."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


def _lines(value: object) -> object:
    """One secret per line; several are accepted, so that they can be rotated."""
    if isinstance(value, str):
        return tuple(line.strip() for line in value.splitlines() if line.strip())
    return value


def _certificates(path: Path) -> Path:
    try:
        with path.open(encoding="ascii") as file:
            text = file.read(MAX_CERTIFICATES_BYTES + 1)
        ssl.create_default_context(cadata=text or "none")  # no text at all would mean the usual authorities
    except (OSError, ValueError) as error:  # also what ssl raises, and what is no text
        raise ValueError(f"must be a file of certificates in PEM (BEGIN CERTIFICATE): {error}") from error
    if len(text) > MAX_CERTIFICATES_BYTES or "PRIVATE KEY" in text:
        most = MAX_CERTIFICATES_BYTES // 1024
        raise ValueError(f"must hold certificates only, {most} KiB at most, and no private key")
    return path.absolute()


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an http:// or https:// address")
    if parts.username or parts.password:
        raise ValueError("must not hold a user or password; use the token setting")
    if parts.query or parts.fragment:
        raise ValueError("must not hold a query or fragment")
    return value.rstrip("/")


def _paths(value: object) -> object:
    """Absolute ones: they mean the same inside and outside."""
    if not isinstance(value, str):
        return value
    found = tuple(Path(entry.strip()) for entry in value.split(":") if entry.strip())
    if relative := [str(path) for path in found if not path.is_absolute()]:
        raise ValueError(f"must be absolute paths, which {relative[0]!r} is not")
    return found


def _names(value: object) -> object:
    """Of hosts, without scheme, port or path."""
    if not isinstance(value, str):
        return value
    found = tuple(one.strip().lower() for one in value.split(",") if one.strip())
    if odd := [one for one in found if not _HOST_NAME.fullmatch(one)]:
        raise ValueError(f"must be host names without scheme and port, which {odd[0][:60]!r} is not")
    return found


_HOST_NAME = re.compile(r"[a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\]")
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)]
Paths = Annotated[tuple[Path, ...], NoDecode, BeforeValidator(_paths)]
Secrets = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_lines)]
Url = Annotated[str, AfterValidator(_http_url)]
Certificates = Annotated[Path, AfterValidator(_certificates)]


def _setting(default: Any, group: str, text: str, *, unit: str = "", **bounds: Any) -> Any:
    return Field(default, description=text, json_schema_extra={"group": group, "unit": unit}, **bounds)


class Settings(BaseSettings):
    """All settings. Field names are the variables' names without the prefix, in lower case."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", env_ignore_empty=True, frozen=True)

    host: str = _setting("127.0.0.1", "Server", "Address to listen on; 0.0.0.0 in a container.")
    port: int = _setting(8500, "Server", "Port to listen on; 0 takes a free one.", ge=0, le=65535)
    public_url: Url | None = _setting(
        None, "Server", "Address under which people reach this service, with the path prefix behind a proxy."
    )
    api_token: Secrets = _setting(
        (),
        "Server",
        "Token for everything but /health and /webhook/*. Without it, and without sign-in by Gitea, only loopback "
        "is answered.",
    )
    allowed_hosts: Names = _setting(
        (),
        "Server",
        "Host names under which this service may be asked for, separated by commas; by default that of "
        "ORCH_PUBLIC_URL. Those of loopback always may.",
    )
    data_dir: Path = _setting(Path("data"), "Server", "Folder for the database, mirrors, runs and logs.")
    config: Path = _setting(Path("orchestrator.yaml"), "Server", "The file with projects and people.")
    log_level: Literal["debug", "info", "warning", "error"] = _setting("info", "Server", "Least level to log.")

    db_path: Path | None = _setting(
        None,
        "Database",
        "SQLite file; by default orchestrator.db in the data folder. Excludes ORCH_DATABASE_URL.",
    )
    database_url: str | None = _setting(
        None, "Database", "SQLAlchemy address, sqlite:///… for now. Excludes ORCH_DB_PATH."
    )
    db_wait_s: float = _setting(
        0.8, "Database", "How long a write waits for a lock before it gives up.", unit="seconds", gt=0, le=1.0
    )

    gitea_oauth_client_id: str | None = _setting(
        None,
        "Sign-in",
        "Client ID of the OAuth2 application in Gitea or Forgejo, by which people sign in; needs ORCH_PUBLIC_URL.",
        pattern=r"^[A-Za-z0-9._-]{1,200}$",
    )
    gitea_oauth_client_secret: Secrets = _setting((), "Sign-in", "Client secret that Gitea showed beside it.")
    sign_in_for: Literal["people", "everyone"] = _setting(
        "people",
        "Sign-in",
        "Who may sign in with Gitea: those in orchestrator.yaml, or everyone with an account there (to read).",
    )
    session_secret: Secrets = _setting(
        (),
        "Sign-in",
        "Key that signs sessions, at least 32 characters; by default one is made and kept in the data folder.",
    )
    session_hours: float = _setting(
        12.0, "Sign-in", "How long a browser stays signed in.", unit="hours", ge=0.1, le=720
    )

    plane_api_url: Url = _setting("http://localhost:8091", "Plane", "Address of Plane as this service reaches it.")
    plane_public_url: Url | None = _setting(
        None, "Plane", "Address of Plane as browsers reach it; with it work items are linked to."
    )
    plane_api_token: Secrets = _setting((), "Plane", "API token of the orchestrator's own Plane user.")
    plane_workspace_slug: str | None = _setting(
        None, "Plane", "The workspace's name in Plane's addresses.", pattern=r"^[A-Za-z0-9_-]{1,100}$"
    )
    plane_webhook_secret: Secrets = _setting((), "Plane", "Secret that Plane showed when the webhook was made.")

    gitea_url: Url = _setting(
        "http://localhost:3000", "Gitea or Forgejo", "Address of Gitea as this service reaches it."
    )
    gitea_public_url: Url | None = _setting(None, "Gitea or Forgejo", "Address of Gitea as browsers reach it.")
    gitea_token: Secrets = _setting((), "Gitea or Forgejo", "Token of the orchestrator's own Gitea user.")
    gitea_token_developer: Secrets = _setting(
        (), "Gitea or Forgejo", "Token of the user that pushes and opens pull requests for the developer agent."
    )
    gitea_token_reviewer: Secrets = _setting(
        (),
        "Gitea or Forgejo",
        "Token of the user that reviews for the reviewer agent; another one than above.",
    )
    gitea_webhook_secret: Secrets = _setting((), "Gitea or Forgejo", "Secret given to the webhook in Gitea.")

    claude_bin: str = _setting("claude", "Agents", "The Claude Code CLI: a path, or a name looked up in PATH.")
    claude_oauth_token: Secrets = _setting(
        (), "Agents", "Max subscription, from `claude setup-token`. Excludes ORCH_ANTHROPIC_API_KEY."
    )
    anthropic_api_key: Secrets = _setting((), "Agents", "API key. Excludes ORCH_CLAUDE_OAUTH_TOKEN.")
    claude_base_url: Url | None = _setting(
        None, "Agents", "Another address for the model's API (a gateway, or a simulator)."
    )
    claude_proxy: Url | None = _setting(None, "Agents", "HTTP proxy that agents reach the model's API through.")
    claude_ca_certs: Certificates | None = _setting(
        None,
        "Agents",
        "File of certificates (PEM) of authorities that agents trust besides the usual ones: of a gateway, or of "
        "a proxy that looks into TLS.",
    )
    claude_model: str | None = _setting(
        None,
        "Agents",
        "Model name or alias; the CLI's default when unset.",
        pattern=r"^[A-Za-z0-9._:\[\]-]{1,100}$",
    )
    repos_dir: Path | None = _setting(
        None, "Agents", "Read-only folder of repositories that seed our mirrors (/repos in the container)."
    )

    sandbox: str = _setting(
        "auto",
        "Sandbox",
        "What agents are put into: auto (all that works here), none, or a list of landlock,user,bwrap.",
        pattern=r"^(auto|none|(landlock|user|bwrap)(,(landlock|user|bwrap))*)$",
    )
    min_sandbox: str = _setting(
        "landlock",
        "Sandbox",
        "Least that a launch needs, as a list like ORCH_SANDBOX; none accepts everything.",
        pattern=r"^(none|(landlock|user|bwrap)(,(landlock|user|bwrap))*)$",
    )
    sandbox_uids: str = _setting(
        "64000-64099",
        "Sandbox",
        "First and last uid that runs may be given, one each; nobody else may have them.",
        pattern=r"^[1-9][0-9]{2,8}-[1-9][0-9]{2,8}$",
    )
    sandbox_read: Paths = _setting(
        (), "Sandbox", "Folders of toolchains that agents may read and run, beside /usr; separated by colons."
    )
    run_max_processes: int = _setting(
        512,
        "Sandbox",
        "Processes and threads of one run; of the service's user in all, where runs have no uid of their own.",
        unit="processes",
        ge=32,
        le=100_000,
    )

    max_concurrent_runs: int = _setting(2, "Limits", "Agents at work at once.", unit="runs", ge=1, le=100)
    max_concurrent_runs_per_repository: int = _setting(
        0, "Limits", "Of them, in one repository; 0: no limit of its own.", unit="runs", ge=0, le=100
    )
    max_concurrent_runs_per_role: int = _setting(
        0, "Limits", "Of them, of one role; 0: no limit of its own.", unit="runs", ge=0, le=100
    )
    max_runs_per_day: int = _setting(
        0, "Limits", "Agents started between midnights (UTC); 0: no limit.", unit="runs", ge=0, le=100_000
    )
    day_budget_usd: float = _setting(
        0.0,
        "Limits",
        "Money of all runs between midnights (UTC), notional for a subscription; when it is spent, runs wait for "
        "the next day. 0: no limit.",
        unit="US dollars",
        ge=0,
        le=1_000_000,
    )
    task_budget_usd: float = _setting(
        0.0,
        "Limits",
        "Money of all runs of one task; when it is spent, the task is parked until `/orch budget`, a posted one "
        "until `orch retry`. 0: no limit.",
        unit="US dollars",
        ge=0,
        le=100_000,
    )
    money_without_progress_usd: float = _setting(
        50.0,
        "Limits",
        "Money of a task's runs since it last reached a stage for the first time; then it is parked until "
        "`/orch budget`, or `orch retry` of a posted one. 0: no limit.",
        unit="US dollars",
        ge=0,
        le=100_000,
    )
    usage_limit_pause_s: float = _setting(
        900.0,
        "Limits",
        "Pause after the account's usage limit when nobody told its reset; doubled each time, up to four hours.",
        unit="seconds",
        ge=1,
        le=14400,
    )
    max_attempts: int = _setting(
        3, "Limits", "Attempts of one run before the task is parked.", unit="attempts", ge=1, le=20
    )
    run_timeout_s: float = _setting(3600, "Limits", "Wall clock of one run.", unit="seconds", gt=0, le=86400)
    run_silence_s: float = _setting(
        1200,
        "Limits",
        "Without a byte of output a run is stopped after this. A command of an agent is silent too, for up to ten "
        "minutes, and so is one long request to the model.",
        unit="seconds",
        gt=0,
        le=86400,
    )
    run_max_turns: int = _setting(60, "Limits", "Turns of one run.", unit="turns", ge=1, le=1000)
    run_max_budget_usd: float = _setting(5.0, "Limits", "Money of one run.", unit="US dollars", gt=0, le=1000)
    run_max_log_bytes: int = _setting(
        100 * 1024 * 1024, "Limits", "Log of one run; the run is stopped above it.", unit="bytes", ge=65536
    )
    run_max_disk_bytes: int = _setting(
        10 * 1024**3, "Limits", "Folder of one run; the run is stopped above it.", unit="bytes", ge=1024**2
    )
    runs_max_disk_bytes: int = _setting(
        50 * 1024**3,
        "Limits",
        "Folders of all runs; above it old ones go early, and when that is not enough no run begins.",
        unit="bytes",
        ge=1024**2,
    )
    run_keep_days: float = _setting(
        14.0,
        "Limits",
        "Age at which a run's workspace goes; unpublished work that its task may go on from stays.",
        unit="days",
        ge=0,
        le=3650,
    )
    run_max_result_bytes: int = _setting(
        100 * 1024**2, "Limits", "New commits of one run, packed.", unit="bytes", ge=65536
    )
    run_max_unpacked_bytes: int = _setting(
        1024**3, "Limits", "New objects of one run, unpacked.", unit="bytes", ge=65536
    )
    run_max_files: int = _setting(3000, "Limits", "Files that one run changes.", unit="files", ge=1, le=100_000)
    run_max_commits: int = _setting(500, "Limits", "New commits of one run.", unit="commits", ge=1, le=10_000)
    run_max_memory_bytes: int = _setting(
        8 * 1024 * 1024 * 1024,
        "Limits",
        "Memory of one run with all that it started; the run is stopped above it.",
        unit="bytes",
        ge=64 * 1024 * 1024,
    )
    max_runs_without_progress: int = _setting(
        40,
        "Limits",
        "Runs of a task since it first came as far as it is, before it is parked.",
        unit="runs",
        ge=5,
        le=1000,
    )
    retry_pause_s: float = _setting(
        10.0,
        "Limits",
        "First pause after a run that crashed again, or could not reach the model; the next ones double, up to 15 "
        "minutes.",
        unit="seconds",
        ge=0,
        le=900,
    )
    max_body_bytes: int = _setting(
        5 * 1024 * 1024, "Limits", "Body of one delivery; nginx needs the same.", unit="bytes", ge=1024
    )
    receive_timeout_s: float = _setting(
        10.0, "Limits", "Time for a request's headers, and again for its body.", unit="seconds", gt=0, le=300
    )
    resync_interval_s: float = _setting(
        60.0, "Limits", "Pause between two looks at all projects.", unit="seconds", ge=1, le=86400
    )
    wake_merge_s: float = _setting(
        1.0, "Limits", "Wakes of one task within this time are one look.", unit="seconds", ge=0.05, le=60
    )
    poll_interval_s: float = _setting(
        30.0,
        "Limits",
        "Pause between two looks at checks and reviews of a forge that sends no events for them (Forgejo).",
        unit="seconds",
        ge=5,
        le=3600,
    )
    plane_calls_per_minute: int = _setting(
        50,
        "Limits",
        "Calls to Plane, with a sixth more in a burst; it allows 60 unless its API_KEY_RATE_LIMIT says more.",
        unit="calls per minute",
        ge=6,
        le=6000,
    )
    http_timeout_s: float = _setting(
        15.0, "Limits", "Time for one call to Plane or Gitea.", unit="seconds", gt=0, le=300
    )

    server: Url | None = _setting(
        None,
        "Command line",
        "Address of the orchestrator that commands ask, with its path prefix; by default the one of ORCH_HOST and "
        "ORCH_PORT.",
    )
    token: Secrets = _setting((), "Command line", "Token that commands send; ORCH_API_TOKEN when unset.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load` passes: it has merged the sources and knows which of them is at fault."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        faults = list(_contradictions(self))
        if faults:
            raise ValueError("\n".join(faults))
        return self

    @property
    def database(self) -> str:
        """The address of the database, whichever of the two settings gave it."""
        if self.database_url:
            return self.database_url
        return f"sqlite:///{(self.db_path or self.data_dir / 'orchestrator.db').absolute()}"

    @property
    def work_items_url(self) -> str:
        """Where browsers find Plane's work items, each under its key, as its own pages link to them; empty when
        that is not configured.
        """
        if not (self.plane_public_url and self.plane_workspace_slug):
            return ""
        return f"{self.plane_public_url}/{self.plane_workspace_slug}/browse"

    @property
    def path_prefix(self) -> str:
        """`/orchestrator` when the public address is https://host/orchestrator, else empty."""
        return urlsplit(self.public_url).path if self.public_url else ""


def _contradictions(settings: Settings) -> Iterator[str]:
    if settings.db_path and settings.database_url:
        yield "ORCH_DB_PATH and ORCH_DATABASE_URL are both set: remove one of them."
    if settings.database_url and not settings.database_url.startswith("sqlite:///"):
        scheme = settings.database_url.partition(":")[0][:40]
        yield f"ORCH_DATABASE_URL: {scheme!r} is not supported in this version; use sqlite:///path."
    first, last = (int(uid) for uid in settings.sandbox_uids.split("-"))
    if first > last:
        yield f"ORCH_SANDBOX_UIDS: {settings.sandbox_uids} ends before it begins."
    yield from _sign_in_faults(settings)
    if settings.claude_oauth_token and settings.anthropic_api_key:
        yield (
            "ORCH_CLAUDE_OAUTH_TOKEN and ORCH_ANTHROPIC_API_KEY are both set: keep one, "
            "since the key would silently win over the subscription."
        )


LEAST_SESSION_SECRET_CHARS = 32


def _sign_in_faults(settings: Settings) -> Iterator[str]:
    if bool(settings.gitea_oauth_client_id) is not bool(settings.gitea_oauth_client_secret):
        yield "ORCH_GITEA_OAUTH_CLIENT_ID and ORCH_GITEA_OAUTH_CLIENT_SECRET belong together: set both or neither."
    if settings.gitea_oauth_client_id and not settings.public_url:
        yield "ORCH_GITEA_OAUTH_CLIENT_ID is set without ORCH_PUBLIC_URL: Gitea could not send people back here."
    if any(len(one.get_secret_value()) < LEAST_SESSION_SECRET_CHARS for one in settings.session_secret):
        yield (
            f"ORCH_SESSION_SECRET has fewer than {LEAST_SESSION_SECRET_CHARS} characters: make one by "
            "`openssl rand -hex 32`, or leave it out."
        )


def _is_secret(field: FieldInfo) -> bool:
    return field.annotation == tuple[SecretStr, ...]


def setting_names() -> dict[str, str]:
    """Variable name → field name, for every setting, `NAME_FILE` included."""
    names: dict[str, str] = {}
    for name, field in Settings.model_fields.items():
        names[PREFIX + name.upper()] = name
        if _is_secret(field):
            names[f"{PREFIX}{name.upper()}_FILE"] = name
    return names


def secret_values(settings: Settings) -> list[str]:
    """Every secret that we hold, so that the log can refuse to show them."""
    return [
        secret.get_secret_value()
        for name, field in Settings.model_fields.items()
        if _is_secret(field)
        for secret in getattr(settings, name)
    ]


def load(environ: Mapping[str, str] | None = None, env_file: Path | None = Path(".env")) -> Settings:
    """Raises SettingsFault with one line per fault. `environ` defaults to the process's own."""
    variables, faults = _merged(os.environ if environ is None else environ, env_file)
    values: dict[str, Any] = dict(_values(variables, faults))
    settings = _made(values, faults)
    if settings is None or faults:
        raise SettingsFault(faults)
    return settings


def refuse_unsigned(settings: Settings) -> None:
    """Raises SettingsFault: an empty secret never verifies, so without one a sender is only ever turned away."""
    missing = [
        f"{setting} is not set: deliveries of {system} could not be verified. Set it, "
        "or try things out on this machine alone with --allow-unsigned-loopback."
        for setting, system in unsigned(settings)
    ]
    if missing:
        raise SettingsFault(missing)


def unsigned(settings: Settings) -> list[tuple[str, str]]:
    """Whose deliveries could not be verified: the setting that lacks the secret, and the system."""
    secrets = (("plane_webhook_secret", "Plane"), ("gitea_webhook_secret", "Gitea"))
    return [(PREFIX + name.upper(), system) for name, system in secrets if not getattr(settings, name)]


def _made(values: Mapping[str, Any], faults: list[str]) -> Settings | None:
    """Adds to `faults` what is wrong. Contradictions are looked for among the values that are right by themselves:
    who mends a set-up wants to read everything at once.
    """
    try:
        return Settings(**values)
    except ValidationError as error:
        found = error.errors()
    faults.extend(line for fault in found for line in _described(fault))
    wrong = {str(fault["loc"][0]) for fault in found if fault["loc"]}
    if wrong:
        _made({name: value for name, value in values.items() if name not in wrong}, faults)
    return None


def _merged(environ: Mapping[str, str], env_file: Path | None) -> tuple[dict[str, str], list[str]]:
    known, faults = setting_names(), list[str]()
    variables: dict[str, str] = {}
    if env_file and env_file.is_file():
        variables = {name: value for name, value in dotenv_values(env_file).items() if value is not None}
    variables |= environ
    ours = {name: value for name, value in variables.items() if name.startswith(PREFIX) and value.strip()}
    for name in sorted(ours.keys() - known.keys()):
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {close[0]}?" if close else " Remove it, or see .env.example for the names."
        faults.append(f"{name} is not a setting.{hint}")
    return {name: value for name, value in ours.items() if name in known}, faults


def _values(variables: Mapping[str, str], faults: list[str]) -> Iterator[tuple[str, str]]:
    for name, field in setting_names().items():
        value = variables.get(name)
        if value is None:
            continue
        if not name.endswith("_FILE"):
            yield field, value
        elif name.removesuffix("_FILE") in variables:
            faults.append(f"{name} and {name.removesuffix('_FILE')} are both set: remove one of them.")
        else:
            try:
                yield field, _read_secret(Path(value))
            except (OSError, ValueError) as error:
                faults.append(f"{name}: {error}")


def _read_secret(path: Path) -> str:
    if path.stat().st_size > MAX_SECRET_FILE_BYTES:
        raise ValueError(f"{path} is larger than {MAX_SECRET_FILE_BYTES} bytes; is it the right file?")
    text = path.read_text()
    if not text.strip():
        raise ValueError(f"{path} is empty; write the secret into it, one per line.")
    return text


def _described(fault: Any) -> list[str]:
    if not fault["loc"]:
        text: str = fault["msg"].removeprefix("Value error, ")
        return text.splitlines()
    name = PREFIX + str(fault["loc"][0]).upper()
    message = fault["msg"].removeprefix("Value error, ")
    shown = (
        "" if _is_secret(Settings.model_fields[str(fault["loc"][0])]) else f" (it is {str(fault['input'])[:60]!r})"
    )
    return [f"{name}: {message}{shown}"]


_FILLED_IN_EXAMPLE = {
    "plane_api_url",
    "plane_api_token",
    "plane_workspace_slug",
    "plane_webhook_secret",
    "gitea_url",
    "gitea_token",
    "gitea_webhook_secret",
    "api_token",
}


def example() -> str:
    """The text of .env.example: what a working set-up fills in, everything else commented out."""
    parts = [
        "# Settings of the orchestrator. Made by `make env-example`; do not edit by hand.",
        "# Copy to .env and fill in the tokens. Lines that begin with # are optional and show the default.",
        "# Every secret may also be given as NAME_FILE=path, with one secret per line.",
    ]
    group = ""
    for name, field in Settings.model_fields.items():
        extra = field.json_schema_extra
        assert isinstance(extra, dict)  # noqa: S101 - set by _setting for every field
        if extra["group"] != group:
            group = str(extra["group"])
            parts += ["", f"# --- {group}"]
        unit = f" [{extra['unit']}]" if extra["unit"] else ""
        parts += [f"# {field.description}{unit}", _example_line(name, field)]
    return "\n".join(parts) + "\n"


def _example_line(name: str, field: FieldInfo) -> str:
    default = "" if field.default in (None, ()) else field.default
    comment = "" if name in _FILLED_IN_EXAMPLE else "#"
    return f"{comment}{PREFIX}{name.upper()}={default}"

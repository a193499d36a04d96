import re
from pathlib import Path

import httpx
import pytest

from orchestrator import config
from orchestrator.sim.webhook import plane_headers
from orchestrator.sim.world import Service

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / ".env.example"
OPTIONAL = re.compile(r"^#(ORCH_\w+)=(.*)$", re.MULTILINE)
TO_FILL_IN = re.compile(r"^(ORCH_\w+)=$", re.MULTILINE)


def test_the_file_is_what_the_settings_say() -> None:
    assert EXAMPLE.read_text(encoding="utf-8") == config.example(), "run: make env-example"


def filled_in(folder: Path) -> Path:
    copy = folder / ".env"
    copy.write_text(TO_FILL_IN.sub(r"\1=filled-in", EXAMPLE.read_text(encoding="utf-8")), encoding="utf-8")
    return copy


def test_a_copy_with_the_tokens_filled_in_is_whole(tmp_path: Path) -> None:
    settings = config.load({}, filled_in(tmp_path))
    config.refuse_unsigned(settings)
    assert [one.get_secret_value() for one in settings.gitea_token] == ["filled-in"]


def test_a_copy_with_the_tokens_filled_in_starts_and_is_what_counts(tmp_path: Path) -> None:
    filled_in(tmp_path)
    with Service(tmp_path, {"ORCH_PORT": "0"}) as service:
        allowed = httpx.get(f"{service.url}/status", headers={"Authorization": "Bearer filled-in"})
        assert (allowed.status_code, allowed.json()["active_tasks"]) == (200, [])
        assert httpx.get(f"{service.url}/status").status_code == 401
        body = b'{"event": "cycle", "action": "created"}'
        headers = plane_headers("cycle", "00000000-0000-4000-8000-000000000001", "filled-in", body)
        answer = httpx.post(f"{service.url}/webhook/plane", content=body, headers=headers)
        assert answer.json() == {"status": "accepted"}
    assert (tmp_path / "data" / "orchestrator.db").exists()


def test_an_untouched_copy_loads_and_is_refused_for_its_missing_secrets_only(tmp_path: Path) -> None:
    copy = tmp_path / ".env"
    copy.write_text(EXAMPLE.read_text(encoding="utf-8"), encoding="utf-8")
    settings = config.load({}, copy)
    with pytest.raises(config.SettingsFault) as refused:
        config.refuse_unsigned(settings)
    assert len(refused.value.faults) == 2


def test_every_optional_line_shows_a_default_that_changes_nothing() -> None:
    shown = dict(OPTIONAL.findall(EXAMPLE.read_text(encoding="utf-8")))
    assert config.load(shown, None) == config.load({}, None)


def test_every_setting_stands_in_the_file_once() -> None:
    named = re.findall(r"^#?(ORCH_\w+)=", EXAMPLE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(named) == sorted(f"{config.PREFIX}{name.upper()}" for name in config.Settings.model_fields)


def test_settings_that_exclude_each_other_are_commented_out() -> None:
    active = {
        line.partition("=")[0] for line in EXAMPLE.read_text(encoding="utf-8").splitlines() if line[:1] != "#"
    }
    assert active.isdisjoint(
        {"ORCH_DB_PATH", "ORCH_DATABASE_URL", "ORCH_CLAUDE_OAUTH_TOKEN", "ORCH_ANTHROPIC_API_KEY"}
    )

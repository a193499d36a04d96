"""What the description promises holds for whatever is sent: no fault of ours, answers of the described form."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

import warm
from orchestrator.db import Database
from orchestrator.sim.webhook import TRUSTS_NOBODY
from orchestrator.sim.world import PROJECT, REPO, Service
from web.rows import fill

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
Operation = APIOperation[Any, Any, Any, Any]
ENDLESS = "/api/v1/events/stream"
DAY, NIGHT = 4, 300
"""Examples for each operation and mode."""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """With something of everything in its database, and nobody around it."""
    (tmp_path / "orchestrator.yaml").write_text(
        f"projects:\n  - plane_project: {PROJECT}\n    repository: {REPO}\n", encoding="utf-8"
    )
    database = Database(f"sqlite:///{tmp_path}/data/orchestrator.db")
    database.open()
    database.close()
    fill(database.path, "ENDURO-1")
    environ = {
        "ORCH_PORT": "0",
        "ORCH_DATA_DIR": str(tmp_path / "data"),
        "ORCH_CONFIG": str(tmp_path / "orchestrator.yaml"),
        "ORCH_PLANE_WEBHOOK_SECRET": "x",
        "ORCH_GITEA_WEBHOOK_SECRET": "x",
    }
    with Service(tmp_path, environ, starter=warm.started) as one:
        yield one


def _operations(service: Service) -> Iterator[Operation]:
    document = httpx.get(f"{service.url}/openapi.json", verify=TRUSTS_NOBODY).json()
    for found in schemathesis.openapi.from_dict(document).get_all_operations():
        operation = found.ok()
        if operation.path != ENDLESS:
            yield operation


def _examined(operation: Operation, service: Service, mode: GenerationMode, many: int) -> None:
    @settings(max_examples=many, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def answers_as_described(case: Case) -> None:
        case.call_and_validate(base_url=service.url, checks=CHECKS)

    answers_as_described()


def _all(service: Service, many: int) -> None:
    for operation in _operations(service):
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            if mode is GenerationMode.POSITIVE or operation.path_parameters or operation.query or operation.body:
                _examined(operation, service, mode, many)


def test_whatever_is_sent_is_answered_as_described(service: Service) -> None:
    _all(service, DAY)
    assert "Traceback" not in service.log.read_text(encoding="utf-8")


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_whatever_is_sent_is_answered_as_described_very_often(service: Service) -> None:
    _all(service, int(os.environ.get("ORCH_TEST_EXAMPLES", NIGHT)))
    assert "Traceback" not in service.log.read_text(encoding="utf-8")


def test_what_is_there_is_answered_as_described(service: Service) -> None:
    """Chance hardly ever asks for what exists."""
    values = {"key": "ENDURO-1", "run": 1, "event": 1, "decision": 1}
    for operation in _operations(service):
        if operation.method.upper() == "GET":
            named = {name: value for name, value in values.items() if f"{{{name}}}" in operation.path}
            case = operation.Case(path_parameters=named)
            response = case.call_and_validate(base_url=service.url, checks=CHECKS)
            assert response.status_code == 200, operation.label

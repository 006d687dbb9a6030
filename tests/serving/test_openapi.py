"""What the server's own OpenAPI document promises, held to by requests that are made from it."""

from typing import Any

import pytest

pytest.importorskip("schemathesis", reason="schemathesis is not installed")

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

OPERATIONS = (
    "GET /health",
    "GET /metrics",
    "GET /v1/models",
    "GET /v1/models/{name}",
    "POST /v1/chat/completions",
    "POST /v1/choices",
    "POST /v1/completions",
)

# what no document can say: that a prompt is too long for the model, or a language has no vector
UNSAID = [positive_data_acceptance]


@pytest.fixture(scope="module")
def document(url: str) -> Any:
    return schemathesis.openapi.from_url(f"{url}/openapi.json")


def test_the_document_has_every_path(document: Any) -> None:
    there = [operation.ok().label for operation in document.get_all_operations()]
    assert sorted(there) == list(OPERATIONS)


@pytest.mark.parametrize("label", OPERATIONS)
def test_what_the_document_promises(document: Any, label: str) -> None:
    operation = document.find_operation_by_label(label)
    statuses = set()

    @settings(
        max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        if isinstance(case.body, dict) and "model" in case.body:
            case.body["model"] = "tiny-sw"
        if label.endswith("choices") and isinstance(case.body, dict) and case.body.get("prompt"):
            case.body.pop("messages", None)
            case.body["calibration"] = None
        if "name" in (case.path_parameters or {}):
            case.path_parameters["name"] = "tiny-sw"
        reply = case.call_and_validate(excluded_checks=UNSAID)
        statuses.add(reply.status_code)

    ask()
    assert 200 in statuses
    if label.startswith("POST"):
        assert 400 in statuses

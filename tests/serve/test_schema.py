"""The service keeps to its own OpenAPI document, whatever is sent."""

from __future__ import annotations

import contextlib
from typing import Any

import httpx
import hypothesis
import pytest
from hypothesis.strategies import SearchStrategy
from serve_helpers import Service

schemathesis = pytest.importorskip("schemathesis")
GenerationMode = schemathesis.GenerationMode


def _check(service: Service, examples: int) -> None:
    """Send generated requests, good and bad ones, and check every answer."""
    schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json")
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) == 5
    for operation in operations:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            with contextlib.suppress(hypothesis.errors.Unsatisfiable):
                _fuzz(operation.as_strategy(generation_mode=mode), examples)


def _fuzz(strategy: SearchStrategy[Any], examples: int) -> None:
    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(strategy)
    def validate(case: Any) -> None:
        case.call_and_validate()

    validate()


def test_answers_are_what_openapi_says(service):
    _check(service, 10)


@pytest.mark.slow
def test_answers_are_what_openapi_says_at_length(service):
    _check(service, 500)


def test_openapi_names_every_route_and_every_refusal(service):
    document = httpx.get(f"{service.url}/openapi.json").json()
    assert set(document["paths"]) == {
        "/v1/classify",
        "/v1/explain",
        "/healthz",
        "/readyz",
        "/metrics",
    }
    refusals = {"400", "401", "403", "408", "413", "415", "422", "429", "503"}
    for path in ("/v1/classify", "/v1/explain"):
        assert set(document["paths"][path]["post"]["responses"]) == refusals | {"200"}

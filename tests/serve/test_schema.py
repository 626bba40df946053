"""The service keeps to its own OpenAPI document, whatever is sent."""

from __future__ import annotations

import collections
import contextlib
import os
from typing import Any, cast

import httpx
import hypothesis
import pytest
from hypothesis.errors import Unsatisfiable
from hypothesis.strategies import SearchStrategy
from serve_helpers import Service

schemathesis = pytest.importorskip("schemathesis")
GenerationMode = schemathesis.GenerationMode
positive_data_acceptance = pytest.importorskip(
    "schemathesis.specs.openapi.checks"
).positive_data_acceptance


def _check(service: Service, examples: int) -> collections.Counter[int]:
    """Send good and bad requests, check every answer, and count their statuses."""
    schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json")
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) == 7
    statuses: collections.Counter[int] = collections.Counter()
    for operation in operations:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            # what takes nothing cannot be asked wrongly
            with contextlib.suppress(Unsatisfiable):
                strategy = operation.as_strategy(generation_mode=mode)
                _fuzz(strategy, examples, statuses)
    return statuses


def _fuzz(
    strategy: SearchStrategy[Any], examples: int, statuses: collections.Counter[int]
) -> None:
    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=cast("Any", list(hypothesis.HealthCheck)),  # an enum
    )
    @hypothesis.given(strategy)
    def validate(case: Any) -> None:
        # No schema tells which bytes are a table.
        unknown = [positive_data_acceptance] if case.path == "/v1/table" else []
        answer = case.call_and_validate(excluded_checks=unknown)
        statuses[answer.status_code] += 1

    validate()


@pytest.mark.slow
def test_answers_are_what_openapi_says(service):
    statuses = _check(service, 10)
    assert set(statuses) == {200, 400, 422}


@pytest.mark.slow
def test_answers_are_what_openapi_says_at_length(service):
    """GPT2_JAX_SCHEMA_CASES asks for more, of each operation and each mode."""
    examples = int(os.environ.get("GPT2_JAX_SCHEMA_CASES", 500))
    statuses = _check(service, examples)
    print(f"{statuses.total()} cases: {dict(statuses)}")
    assert statuses.total() > 3 * examples


def test_openapi_names_every_route_and_every_refusal(service):
    document = httpx.get(f"{service.url}/openapi.json").json()
    assert set(document["paths"]) == {
        "/v1/classify",
        "/v1/explain",
        "/v1/table",
        "/healthz",
        "/readyz",
        "/metrics",
        "/info",
    }
    refusals = {"400", "401", "403", "408", "413", "415", "422", "429", "503"}
    for path in ("/v1/classify", "/v1/explain", "/v1/table"):
        assert set(document["paths"][path]["post"]["responses"]) == refusals | {"200"}

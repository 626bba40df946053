"""One service of a tiny model for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from serve_helpers import Service, serving, tiny_trained

from gpt2_jax.inference.classifier import Classifier


@pytest.fixture(scope="session")
def classifier() -> Classifier:
    return Classifier(tiny_trained())


@pytest.fixture(scope="session")
def service(classifier) -> Iterator[Service]:
    with serving(classifier) as running:
        yield running

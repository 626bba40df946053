"""One service of a tiny model, for all tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from page_helpers import Page, opening, spam
from serve_helpers import Service, StubClassifier, serving, tiny_trained

from gpt2_jax.inference.classifier import Classifier


@pytest.fixture(scope="session")
def classifier() -> Classifier:
    return Classifier(tiny_trained())


@pytest.fixture(scope="session")
def service(classifier) -> Iterator[Service]:
    with serving(classifier) as running:
        yield running


@pytest.fixture(scope="session")
def url() -> Iterator[str]:
    """The page of a model that knows two words."""
    with serving(StubClassifier(spam)) as running:
        yield running.url


@pytest.fixture
def open_page(browser) -> Iterator[Callable[..., Page]]:
    with opening(browser) as opened:
        yield opened

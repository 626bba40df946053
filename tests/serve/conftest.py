"""One service of a tiny model, and one browser, for all tests of this folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from page_helpers import ARGS, Page, opening, spam
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


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is missing")
    path = os.environ.get("GPT2_JAX_CHROMIUM") or shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium; install it or set GPT2_JAX_CHROMIUM")
    with api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=ARGS)
        yield launched
        launched.close()


@pytest.fixture
def open_page(browser) -> Iterator[Callable[..., Page]]:
    with opening(browser) as opened:
        yield opened

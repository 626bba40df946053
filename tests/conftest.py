"""What every test starts from: several CPU devices, strict shapes, a tiny model."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import pytest
from page_helpers import ARGS

from gpt2_jax.training import errors

pytest_plugins = ["fault_table"]

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"

jax.config.update("jax_platforms", "cpu")
os.environ["JAX_PLATFORMS"] = "cpu"  # of the processes that tests start
jax.config.update("jax_num_cpu_devices", 8)
# The command line keeps compiled programs in the user's cache folder; tests must not.
jax.config.update("jax_enable_compilation_cache", False)
jax.config.update("jax_numpy_rank_promotion", "raise")
# Why a text was mistaken costs programs of its own; tests/training/test_errors.py asks.
errors.EXPLAINED_TOKENS = 0


@pytest.fixture(autouse=True)
def _logging_as_it_was():
    """Undo what the command line sets up, which caplog would not see through."""
    logger = logging.getLogger("gpt2_jax")
    before = logger.handlers, logger.level, logger.propagate
    yield
    logger.handlers, logger.level, logger.propagate = before


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """One browser: playwright allows no second one in a process."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is missing")
    path = os.environ.get("GPT2_JAX_CHROMIUM") or shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium; install it or set GPT2_JAX_CHROMIUM")
    with api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=ARGS)
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def sms_path() -> Path:
    """The SMS Spam Collection, which is not part of this repository."""
    folder = Path(os.environ.get("GPT2_JAX_DATA", SHARED_DATA))
    path = folder / "SMSSpamCollection"
    if not path.is_file():
        pytest.skip(f"no {path}; set GPT2_JAX_DATA to the folder that holds it")
    return path

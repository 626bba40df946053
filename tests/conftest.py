"""What every test starts from: several CPU devices, strict shapes, a tiny model."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import jax
import pytest

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"

jax.config.update("jax_platforms", "cpu")
os.environ["JAX_PLATFORMS"] = "cpu"  # of the processes that tests start
jax.config.update("jax_num_cpu_devices", 8)
# The command line keeps compiled programs in the user's cache folder; tests must not.
jax.config.update("jax_enable_compilation_cache", False)
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(autouse=True)
def _logging_as_it_was():
    """Undo what the command line sets up, which caplog would not see through."""
    logger = logging.getLogger("gpt2_jax")
    before = logger.handlers, logger.level, logger.propagate
    yield
    logger.handlers, logger.level, logger.propagate = before


@pytest.fixture(scope="session")
def sms_path() -> Path:
    """The SMS Spam Collection, which is not part of this repository."""
    folder = Path(os.environ.get("GPT2_JAX_DATA", SHARED_DATA))
    path = folder / "SMSSpamCollection"
    if not path.is_file():
        pytest.skip(f"no {path}; set GPT2_JAX_DATA to the folder that holds it")
    return path

"""Whole runs in these tests compile each program once."""

from __future__ import annotations

import pytest
from training_helpers import shared_programs


@pytest.fixture(scope="module", autouse=True)
def _programs(tmp_path_factory):
    with shared_programs(tmp_path_factory.getbasetemp() / "programs"):
        yield

"""Texts that are longer than the model reads: their pieces, and the mean over them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2_jax.config import LONGS
from gpt2_jax.engine.long import (
    OVERLAP,
    all_pieces,
    first_pieces,
    mean_of_pieces,
    pieces,
)


@pytest.mark.parametrize("long", LONGS)
@given(size=st.integers(1, 60), limit=st.integers(1, 20))
def test_pieces_fit_and_a_text_that_fits_is_one(long, size, limit):
    ids = list(range(size))
    found = pieces(ids, limit, long)
    assert all(1 <= len(piece) <= limit for piece in found)
    if size <= limit:
        assert found == [ids]
    elif long == "windows":
        assert sorted({i for piece in found for i in piece}) == ids
        assert found[-1][-1] == ids[-1] and len(found) > 1
        assert all(len(piece) == limit for piece in found)
        starts = [piece[0] for piece in found]
        assert starts == sorted(set(starts))
        shared = [a[-1] - b[0] + 1 for a, b in itertools.pairwise(found)]
        assert min(shared) >= int(OVERLAP * limit)
    else:
        assert len(found) == 1 and len(found[0]) == limit
        half = limit if long == "cut" else limit - limit // 2
        assert found[0] == [*ids[:half], *ids[size - (limit - half) :]]


def test_the_mean_is_over_the_pieces_of_each_text():
    encoded = [[1, 2, 3, 4, 5, 6], [7], list(range(9))]
    found, owners = all_pieces(encoded, 4, "windows")
    assert owners.tolist() == [0, 0, 1, 2, 2, 2]
    assert first_pieces(owners).tolist() == [0, 2, 3]
    rows = np.asarray([[sum(piece)] for piece in found], np.float32)
    expected = [np.mean([sum(p) for p in pieces(ids, 4, "windows")]) for ids in encoded]
    np.testing.assert_allclose(mean_of_pieces(rows, owners)[:, 0], expected)
    np.testing.assert_array_equal(mean_of_pieces(rows, np.arange(6)), rows)

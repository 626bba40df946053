"""Documents end to end, cut into sequences."""

from __future__ import annotations

import numpy as np

from gpt2_jax.engine.sequences import Sequences, step_sequences


def test_sequences_lie_end_to_end_and_share_their_ends():
    shards = (np.arange(11, dtype=np.uint16), np.arange(100, 105, dtype=np.uint16))
    sequences = Sequences((*shards, np.arange(4, dtype=np.uint16)), 4)
    assert len(sequences) == 3  # 8 of 11 tokens, 4 of 5, none of 4
    expected = [[4, 5, 6, 7, 8], [100, 101, 102, 103, 104], [0, 1, 2, 3, 4]]
    assert sequences.batch(np.asarray([1, 2, 0])).tolist() == expected


def test_each_epoch_meets_every_sequence_once_in_another_order():
    rows = np.concatenate([step_sequences(10, 4, step, seed=3) for step in range(5)])
    assert sorted(rows[:10]) == sorted(rows[10:]) == list(range(10))
    assert rows[:10].tolist() != rows[10:].tolist()

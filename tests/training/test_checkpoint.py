"""Checkpoints: the last and the best, whole or refused."""

from __future__ import annotations

import gc
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.training.train_state import TrainState

from gpt2_jax.config import TrainConfig
from gpt2_jax.errors import WeightsError
from gpt2_jax.training.checkpoint import Checkpoints, merge_leaves, trained_leaves
from gpt2_jax.training.optimizer import FREEZE, TRAIN, create_optimizer
from gpt2_jax.tree import flatten

# When one array cannot be read, orbax leaves the readers of the others half-way.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(autouse=True)
def _collect_those_readers_here():
    yield
    gc.collect()


_LABELS = {"head": {"kernel": TRAIN}, "trunk": {"kernel": FREEZE}}


def _state(step: int = 0, *, width: int = 8) -> TrainState:
    """Return a state whose every number tells its step."""
    random = np.random.default_rng(step)
    params = {
        "head": {"kernel": random.normal(size=(width, 300)).astype("f4")},
        "trunk": {"kernel": np.ones((4, 4), np.float32)},
    }
    tx = create_optimizer(TrainConfig(), _LABELS, 10)
    params = jax.tree.map(jnp.asarray, params)
    state = TrainState.create(apply_fn=lambda: None, params=params, tx=tx)
    moved = jax.tree.map(lambda leaf: leaf + step, state.opt_state)
    return state.replace(step=step, opt_state=moved)


def _save(workdir: Path, scores: dict[int, float]) -> None:
    checkpoints = Checkpoints(workdir, _LABELS)
    for step, score in scores.items():
        checkpoints.save(_state(step), {"step": step}, score)
    checkpoints.close()


def _restore(workdir: Path, *, best: bool = False, template=None):
    checkpoints = Checkpoints(workdir, _LABELS)
    try:
        return checkpoints.restore(template or _state(), best=best)
    finally:
        checkpoints.close()


def _steps(workdir: Path) -> set[str]:
    return {path.name for path in (workdir / "checkpoints").iterdir()}


def test_the_last_and_the_best_are_kept_and_no_other(tmp_path):
    _save(tmp_path, {1: 0.2, 2: 0.9, 3: 0.5, 4: 0.1})
    assert _steps(tmp_path) == {"2", "4"}
    last, best = _restore(tmp_path), _restore(tmp_path, best=True)
    assert last is not None and last[1] == {"step": 4}
    assert best is not None and best[1] == {"step": 2}


def test_the_best_stays_the_best_for_a_later_process(tmp_path):
    _save(tmp_path, {1: 0.9})
    _save(tmp_path, {2: 0.1})
    _save(tmp_path, {3: 0.2})
    assert _steps(tmp_path) == {"1", "3"}


def test_what_is_restored_is_bit_equal_to_what_was_saved(tmp_path):
    _save(tmp_path, {7: 0.5})
    restored = _restore(tmp_path)
    assert restored is not None
    state, expected = restored[0], _state(7)
    assert int(state.step) == 7
    for got, want in ((state.params["head"], expected.params["head"]),):
        jax.tree.map(np.testing.assert_array_equal, got, want)
    assert jax.tree.structure(state.opt_state) == jax.tree.structure(expected.opt_state)
    jax.tree.map(np.testing.assert_array_equal, state.opt_state, expected.opt_state)
    for leaf in jax.tree.leaves(state.opt_state):
        assert leaf.dtype in (np.float32, np.int32)


def test_frozen_leaves_are_those_of_the_state_given(tmp_path):
    _save(tmp_path, {1: 0.5})
    template = _state()
    template.params["trunk"]["kernel"] = jnp.full((4, 4), 3.0)
    restored = _restore(tmp_path, template=template)
    assert restored is not None
    np.testing.assert_array_equal(restored[0].params["trunk"]["kernel"], 3.0)


def test_a_step_that_is_there_already_stays_as_it_is(tmp_path):
    _save(tmp_path, {1: 0.5})
    checkpoints = Checkpoints(tmp_path, _LABELS)
    checkpoints.save(_state(2).replace(step=1), {"step": 99}, 0.5)
    checkpoints.close()
    restored = _restore(tmp_path)
    assert restored is not None and restored[1] == {"step": 1}


def test_a_step_below_the_last_is_not_dropped_in_silence(tmp_path):
    _save(tmp_path, {5: 0.5})
    checkpoints = Checkpoints(tmp_path, _LABELS)
    with pytest.raises(WeightsError, match="step 3 was not saved"):
        checkpoints.save(_state(3), {"step": 3}, 0.5)
    checkpoints.close()


def test_nothing_saved_is_nothing_restored(tmp_path):
    assert _restore(tmp_path) is None
    assert _restore(tmp_path, best=True) is None


def _largest(step: Path) -> Path:
    return max(
        (path for path in step.rglob("*") if path.is_file()),
        key=lambda path: path.stat().st_size,
    )


def _truncate(step: Path) -> None:
    path = _largest(step)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _delete(step: Path) -> None:
    _largest(step).unlink()


def _flip_bit(step: Path) -> None:
    path = _largest(step)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _empty_metadata(step: Path) -> None:
    (step / "state" / "_METADATA").write_bytes(b"")


def _spoil_meta(step: Path) -> None:
    next((step / "meta").glob("meta*")).write_text("{")


@pytest.mark.parametrize(
    "damage", [_truncate, _delete, _flip_bit, _empty_metadata, _spoil_meta]
)
def test_a_damaged_checkpoint_is_refused_by_name(tmp_path, damage):
    checkpoints = Checkpoints(tmp_path, _LABELS)
    checkpoints.save(_state(5, width=2000), {"step": 5}, 0.5)
    checkpoints.close()
    damage(tmp_path / "checkpoints" / "5")
    with pytest.raises(WeightsError, match=r"checkpoints/5\b.*; ") as caught:
        _restore(tmp_path, template=_state(width=2000))
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_another_model_is_refused_by_name(tmp_path):
    _save(tmp_path, {5: 0.5})
    with pytest.raises(WeightsError, match="checkpoints/5: cannot be restored"):
        _restore(tmp_path, template=_state(width=9))


def test_trained_leaves_are_merged_back_into_their_places():
    params = _state(3).params
    leaves = trained_leaves(params, _LABELS)
    assert set(flatten(leaves)) == {"head/kernel"}
    doubled = jax.tree.map(lambda leaf: 2 * leaf, leaves)
    merged = merge_leaves(params, doubled)
    assert set(flatten(merged)) == set(flatten(params))
    np.testing.assert_array_equal(
        merged["head"]["kernel"], 2 * params["head"]["kernel"]
    )
    assert merged["trunk"]["kernel"] is params["trunk"]["kernel"]


def test_the_meta_of_a_checkpoint_is_plain_json(tmp_path):
    _save(tmp_path, {1: 0.5})
    file = next((tmp_path / "checkpoints" / "1" / "meta").glob("meta*"))
    assert json.loads(file.read_text()) == {"step": 1}

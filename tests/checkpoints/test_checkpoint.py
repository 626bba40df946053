"""Checkpoints: the newest and the best, whole or refused."""

from __future__ import annotations

import json
import re
import shutil
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.training.train_state import TrainState

from gpt2_jax.checkpoints import checkpoint, readback
from gpt2_jax.checkpoints.checkpoint import Checkpoints
from gpt2_jax.checkpoints.manifest import FORMAT, MANIFEST
from gpt2_jax.checkpoints.readback import check_leaves
from gpt2_jax.checkpoints.step_folders import check_space, remove_leftovers
from gpt2_jax.config import TrainConfig
from gpt2_jax.engine.optimizer import create_optimizer
from gpt2_jax.engine.param_labels import FREEZE, TRAIN, merge_leaves, trained_leaves
from gpt2_jax.errors import NonFiniteError, WeightsError
from gpt2_jax.model.tree import flatten, unflatten
from gpt2_jax.storage.leaves import hash_leaves

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


def _save(
    workdir: Path, scores: dict[int, float | None], *, width: int = 8, keep: int = 2
) -> None:
    with Checkpoints(workdir, _LABELS, keep=keep) as checkpoints:
        for step, score in scores.items():
            checkpoints.save(_state(step, width=width), {"step": step}, score)


def _restore(
    workdir: Path, *, best: bool = False, template=None, fall_back: bool = False
):
    with Checkpoints(workdir, _LABELS) as checkpoints:
        return checkpoints.restore(template or _state(), best=best, fall_back=fall_back)


def _steps(workdir: Path) -> set[str]:
    return {path.name for path in (workdir / "checkpoints").iterdir()}


def test_the_newest_and_the_best_are_kept_and_no_other(tmp_path):
    _save(tmp_path, {1: 0.2, 2: 0.9, 3: 0.5, 4: 0.1, 5: 0.1})
    assert _steps(tmp_path) == {"2", "4", "5"}
    last, best = _restore(tmp_path), _restore(tmp_path, best=True)
    assert last is not None and last[1] == {"step": 5}
    assert best is not None and best[1] == {"step": 2}


def test_as_many_are_kept_as_asked_for(tmp_path):
    _save(tmp_path, dict.fromkeys(range(1, 6), 0.5), keep=3)
    assert _steps(tmp_path) == {"3", "4", "5"}
    with pytest.raises(ValueError, match="keep_checkpoints=1 must be at least 2"):
        TrainConfig(keep_checkpoints=1)


def test_the_best_stays_the_best_for_a_later_process(tmp_path):
    _save(tmp_path, {1: 0.9})
    _save(tmp_path, {2: 0.1})
    _save(tmp_path, {3: 0.2})
    _save(tmp_path, {4: 0.2})
    assert _steps(tmp_path) == {"1", "3", "4"}


def test_a_step_without_a_score_is_never_the_best_until_it_has_one(tmp_path):
    _save(tmp_path, {1: 0.1, 2: None})
    best = _restore(tmp_path, best=True)
    assert best is not None and best[1] == {"step": 1}
    with Checkpoints(tmp_path, _LABELS) as checkpoints:
        checkpoints.rescore(2, {"step": 2, "behind": False}, 0.5)
    best = _restore(tmp_path, best=True)
    assert best is not None and best[1] == {"step": 2, "behind": False}


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


@pytest.mark.fault(14)
def test_faults_14_a_step_is_not_saved_twice(tmp_path):
    _save(tmp_path, {1: 0.5})
    before = (tmp_path / "checkpoints" / "1" / MANIFEST).read_bytes()
    with (
        Checkpoints(tmp_path, _LABELS) as checkpoints,
        pytest.raises(WeightsError, match=r"checkpoints/1: this step was saved"),
    ):
        checkpoints.save(_state(2).replace(step=1), {"step": 99}, 0.5)
    assert (tmp_path / "checkpoints" / "1" / MANIFEST).read_bytes() == before


def test_a_step_below_the_last_is_not_dropped_in_silence(tmp_path):
    _save(tmp_path, {5: 0.5})
    with (
        Checkpoints(tmp_path, _LABELS) as checkpoints,
        pytest.raises(WeightsError, match="3: not saved; later steps are there"),
    ):
        checkpoints.save(_state(3), {"step": 3}, 0.5)


def test_what_is_saved_is_what_was_there_when_it_was_asked_for(tmp_path):
    """The next train step is given the very buffers to keep; orbax still writes."""
    change = jax.jit(
        lambda tree: jax.tree.map(lambda leaf: leaf * 0 - 1, tree), donate_argnums=0
    )
    state = _state(1, width=4000)
    with Checkpoints(tmp_path, _LABELS) as checkpoints:
        checkpoints.save(state, {}, None)
        params, opt_state = change((state.params, state.opt_state))
        jax.block_until_ready((params, opt_state))
    restored = _restore(tmp_path, template=_state(width=4000))
    assert restored is not None
    expected = _state(1, width=4000)
    for got, want in (
        (restored[0].params["head"], expected.params["head"]),
        (restored[0].opt_state, expected.opt_state),
    ):
        jax.tree.map(np.testing.assert_array_equal, got, want)


def test_a_save_does_not_wait_for_the_disk(tmp_path, monkeypatch):
    release = threading.Event()

    def hash_slowly(tree):
        assert release.wait(30)
        return hash_leaves(tree)

    monkeypatch.setattr(checkpoint, "hash_leaves", hash_slowly)
    checkpoints = Checkpoints(tmp_path, _LABELS)
    checkpoints.save(_state(1), {"step": 1}, 0.5)  # returns
    checkpoints.check()
    assert checkpoints.newest is None  # not called saved before it was waited for
    release.set()
    checkpoints.finish()
    assert checkpoints.newest == 1
    checkpoints.close()


@pytest.mark.fault(21)
def test_faults_21_an_error_of_the_writer_is_raised_and_leaves_nothing(
    tmp_path, monkeypatch
):
    _save(tmp_path, {1: 0.5})

    def fail(folder):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "hash_files", fail)
        with pytest.raises(WeightsError) as caught:
            _save(tmp_path, {2: 0.5})
    message = str(caught.value)
    assert "checkpoints/2: not saved ([Errno 28] No space left on device; " in message
    assert "bytes needed" in message and "free)" in message and "\n" not in message
    assert _steps(tmp_path) == {"1"}
    restored = _restore(tmp_path)
    assert restored is not None and restored[1] == {"step": 1}


@pytest.mark.fault(21)
def test_faults_21_what_the_disk_gives_back_changed_was_not_saved(
    tmp_path, monkeypatch
):
    def flip(folder, *arguments):
        _flip_bit(folder)
        return check_leaves(folder, *arguments)

    monkeypatch.setattr(checkpoint, "check_leaves", flip)
    with pytest.raises(WeightsError, match=r"not what was saved: .*checksum mismatch"):
        _save(tmp_path, {1: 0.5}, width=2000)
    assert _steps(tmp_path) == set()


@pytest.mark.fault(19)
def test_faults_19_nan_is_never_saved(tmp_path):
    state = _state(3)
    flat = flatten(state.params)
    flat["head/kernel"] = flat["head/kernel"].at[2, 5].set(jnp.nan)
    state = state.replace(params=unflatten(flat))
    with (
        Checkpoints(tmp_path, _LABELS) as checkpoints,
        pytest.raises(NonFiniteError, match=r"step 3: .* params/head/kernel \(1 val"),
    ):
        checkpoints.save(state, {"step": 3}, 0.5)
    assert _steps(tmp_path) == set()


def test_nothing_saved_is_nothing_restored(tmp_path):
    assert _restore(tmp_path) is None
    assert _restore(tmp_path, best=True) is None


def _largest(step: Path) -> Path:
    return max(
        (path for path in step.rglob("*") if path.is_file()),
        key=lambda path: path.stat().st_size,
    )


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _truncate(step: Path) -> None:
    path = _largest(step)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _empty(step: Path) -> None:
    _largest(step).write_bytes(b"")


def _delete(step: Path) -> None:
    _largest(step).unlink()


def _flip_bit(step: Path) -> None:
    _flip(_largest(step))


_LEAVES = r"leaves: .*(params/head/kernel|opt_state/.*head/kernel)"
_DAMAGES = {
    # FAULTS 8
    _flip_bit: rf"checksum mismatch in .*; {_LEAVES}",
    lambda step: _flip(step / "_METADATA"): "checksum mismatch in _METADATA",
    lambda step: (step / "_METADATA").write_bytes(b""): "mismatch in _METADATA",
    lambda step: _flip(step / "manifest.ocdbt"): "checksum mismatch in manifest.ocdbt",
    lambda step: _flip(step / MANIFEST): rf"5/{MANIFEST}: damaged",
    # FAULTS 9
    _truncate: _LEAVES,
    _empty: _LEAVES,
    _delete: _LEAVES,
    lambda step: (step / MANIFEST).write_bytes(b""): rf"5/{MANIFEST}: damaged",
}


@pytest.mark.fault(8, 9)
@pytest.mark.parametrize("damage", _DAMAGES)
def test_faults_8_9_damage_is_refused_by_name_or_passed_over_in_words(
    damage, tmp_path, caplog, capfd
):
    _save(tmp_path, {4: 0.5, 5: 0.5}, width=2000)
    damage(tmp_path / "checkpoints" / "5")
    with pytest.raises(WeightsError, match=r"checkpoints/5\b.*--resume auto") as caught:
        _restore(tmp_path, template=_state(width=2000))
    message = str(caught.value)
    assert re.search(_DAMAGES[damage], message), message
    assert "\n" not in message and len(message) < 1000
    assert _steps(tmp_path) == {"4", "5"}

    restored = _restore(tmp_path, template=_state(width=2000), fall_back=True)
    assert restored is not None and restored[1] == {"step": 4}
    assert re.search(_DAMAGES[damage], caplog.text), caplog.text
    assert "set aside as 5.damaged" in caplog.text
    assert _steps(tmp_path) == {"4", "5.damaged"}
    assert "Traceback" not in capfd.readouterr().err
    _save(tmp_path, {5: 0.5}, width=2000)  # its place is free
    restored = _restore(tmp_path, template=_state(width=2000))
    assert restored is not None and restored[1] == {"step": 5}


@pytest.mark.parametrize("max_bytes", [1, 5_000, 1 << 30])
def test_leaves_are_read_back_in_batches_of_any_size(tmp_path, monkeypatch, max_bytes):
    monkeypatch.setattr(readback, "BATCH_BYTES", max_bytes)
    _save(tmp_path, {1: 0.5})
    assert _restore(tmp_path) is not None


@pytest.mark.fault(8)
def test_only_the_leaf_that_is_hit_is_named(tmp_path):
    """The small leaves lie elsewhere: in orbax's index, each with its own checksum."""
    _save(tmp_path, {1: 0.5}, width=2000)
    _flip_bit(tmp_path / "checkpoints" / "1")
    with pytest.raises(WeightsError) as caught:
        _restore(tmp_path, template=_state(width=2000))
    _, _, leaves = str(caught.value).partition("; leaves: ")
    assert leaves.count("head/kernel checksum mismatch") == 1
    assert leaves.startswith(("params/head/kernel checksum", "opt_state/"))
    assert "count" not in leaves and "step " not in leaves.partition("; --resume")[0]


@pytest.mark.fault(8)
def test_every_single_bit_flip_is_found(tmp_path):
    """orbax restores them without a word: STACK, 24 of 24."""
    _save(tmp_path, {1: 0.5}, width=2000)
    step, random = tmp_path / "checkpoints" / "1", np.random.default_rng(0)
    path = _largest(step)
    whole = path.read_bytes()
    for place in random.integers(0, len(whole), 12):
        content = bytearray(whole)
        content[place] ^= 1 << random.integers(8)
        path.write_bytes(content)
        with pytest.raises(WeightsError, match="checksum mismatch"):
            _restore(tmp_path, template=_state(width=2000))
    path.write_bytes(whole)
    assert _restore(tmp_path, template=_state(width=2000)) is not None


@pytest.mark.fault(2)
def test_faults_2_a_step_without_a_manifest_is_skipped_with_a_warning(tmp_path, caplog):
    _save(tmp_path, {4: 0.5, 5: 0.9})
    (tmp_path / "checkpoints" / "5" / MANIFEST).unlink()
    for best in (False, True):
        restored = _restore(tmp_path, best=best)
        assert restored is not None and restored[1] == {"step": 4}
    assert "5: skipped; it has no manifest: its save was cut short" in caplog.text
    _save(tmp_path, {5: 0.5})
    restored = _restore(tmp_path)
    assert restored is not None and restored[1] == {"step": 5}


@pytest.mark.fault(10)
def test_faults_10_junk_and_empty_folders_are_ignored_with_a_warning(tmp_path, caplog):
    _save(tmp_path, {4: 0.5})
    folder = tmp_path / "checkpoints"
    (folder / "77").mkdir()
    (folder / "88").write_text("junk")
    (folder / "notes").mkdir()
    restored = _restore(tmp_path)
    assert restored is not None and restored[1] == {"step": 4}
    assert "77: skipped; an empty folder" in caplog.text
    assert "88: skipped; a file" in caplog.text
    _save(tmp_path, {5: 0.5, 77: 0.5, 88: 0.5})
    assert _steps(tmp_path) == {"4", "77", "88", "notes"} - {"4"}


@pytest.mark.fault(20)
def test_faults_20_another_format_is_refused_with_both_numbers(tmp_path):
    _save(tmp_path, {4: 0.5, 5: 0.5})
    path = tmp_path / "checkpoints" / "5" / MANIFEST
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "format": FORMAT + 1, "more": [1]}))
    for fall_back in (False, True):
        with pytest.raises(WeightsError) as caught:
            _restore(tmp_path, fall_back=fall_back)
        assert f"of format {FORMAT + 1}, this version reads {FORMAT}" in str(
            caught.value
        )
        assert "newer gpt2-jax" in str(caught.value)


@pytest.mark.fault(20)
def test_faults_20_an_older_format_says_how_to_go_on(tmp_path):
    (tmp_path / "checkpoints" / "5" / "sha256").mkdir(parents=True)
    with pytest.raises(WeightsError, match=r"of format 1, .*the version that began it"):
        _restore(tmp_path)


def test_a_manifest_tells_format_step_run_and_every_leaf(tmp_path):
    with Checkpoints(tmp_path, _LABELS, run="abc") as checkpoints:
        checkpoints.save(_state(5), {"step": 5}, 0.5)
    values = json.loads((tmp_path / "checkpoints" / "5" / MANIFEST).read_text())
    assert (values["format"], values["step"], values["run"]) == (FORMAT, 5, "abc")
    assert {"params/head/kernel", "step"} <= set(values["leaves"])
    assert any(name.startswith("opt_state/") for name in values["leaves"])
    assert "_METADATA" in values["files"]


@pytest.mark.fault(1)
def test_what_a_killed_process_was_writing_is_removed_at_once(tmp_path):
    _save(tmp_path, {4: 0.5})
    leftovers = [
        tmp_path / "checkpoints" / "5.orbax-checkpoint-tmp",
        tmp_path / "checkpoints" / "6.orbax-checkpoint-tmp-1234",
    ]
    for folder in leftovers:
        (folder / "d").mkdir(parents=True)
    leftovers += [
        tmp_path / ".config.json.partial",
        tmp_path / "checkpoints" / "4" / f".{MANIFEST}.partial",
    ]
    for path in leftovers[2:]:
        path.write_text("{")
    remove_leftovers(tmp_path)
    assert not [path for path in leftovers if path.exists()]
    assert _restore(tmp_path) is not None


@pytest.mark.fault(11)
def test_a_folder_too_small_for_a_checkpoint_is_refused(tmp_path, caplog):
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(WeightsError) as caught:
        check_space(tmp_path, step=2 * free, model=5, keep=2)
    assert f"{2 * free + 5:,} bytes needed, " in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    check_space(tmp_path, step=free // 3, model=5, keep=2)
    assert "may get full" in caplog.text
    caplog.clear()
    check_space(tmp_path, step=free // 100, model=5, keep=2)
    assert not caplog.text


def test_a_checkpoint_of_another_model_is_refused_by_name(tmp_path):
    _save(tmp_path, {5: 0.5})
    message = r"checkpoints/5: of another model: .*kernel is float32\[8,300\] there, "
    with pytest.raises(WeightsError, match=message):
        _restore(tmp_path, template=_state(width=9))


def test_trained_leaves_are_merged_back_into_their_places():
    params = _state(3).params
    leaves = trained_leaves(params, _LABELS)
    assert set(flatten(leaves)) == {"head/kernel"}
    doubled = jax.tree.map(lambda leaf: 2 * leaf, leaves)
    merged = merge_leaves(params, doubled)
    assert set(flatten(merged)) == set(flatten(params))
    np.testing.assert_array_equal(
        merged["head"]["kernel"], 2 * flatten(params)["head/kernel"]
    )
    assert merged["trunk"]["kernel"] is params["trunk"]["kernel"]

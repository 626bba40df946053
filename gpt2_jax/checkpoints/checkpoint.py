"""Checkpoints of a run: what trains and the optimizer's state, through orbax.

orbax's CheckpointManager takes an empty folder for a step, and an existing step is a
silent False to it. StandardCheckpointer writes a folder; `manifest` says it is whole.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax.training.train_state import TrainState

from gpt2_jax import distributed
from gpt2_jax.checkpoints import step_folders
from gpt2_jax.checkpoints.manifest import DamageError, Manifest, hash_files
from gpt2_jax.checkpoints.nonfinite import refuse_nonfinite
from gpt2_jax.checkpoints.readback import check_leaves, refuse_other_leaves, shorten
from gpt2_jax.engine.param_labels import merge_leaves, trained_leaves
from gpt2_jax.errors import UserError, WeightsError
from gpt2_jax.model.tree import Params
from gpt2_jax.storage.disk import disk_error
from gpt2_jax.storage.leaves import hash_leaves, leaf_shapes, on_host
from gpt2_jax.storage.orbax_saves import begin_save

log = logging.getLogger(__name__)


class Checkpoints:
    """The newest and the best states of a run, under `<workdir>/checkpoints`.

    Frozen leaves are not saved: they are the pretrained weights, bit for bit. A save
    goes on beside the training; only what `finish` saw written and read back is one.
    """

    def __init__(
        self,
        workdir: Path,
        param_labels: Params,
        *,
        run: str = "",
        keep: int = 2,
        committed: Callable[[], None] = lambda: None,
    ) -> None:
        self.folder = (workdir / "checkpoints").absolute()
        self._param_labels, self._run, self._keep = param_labels, run, keep
        self._committed = committed  # called when a step has become valid
        self.resumed: int | None = None  # the step that `resume` went on from
        self.behind = False  # what was due after it has not been done
        self._orbax = ocp.StandardCheckpointer()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: tuple[Path, int, Future[None]] | None = None
        if jax.process_index() == 0:
            self.folder.mkdir(parents=True, exist_ok=True)

    def tree(self, state: TrainState) -> dict[str, Any]:
        """Return what is saved of `state`."""
        return {
            "params": trained_leaves(state.params, self._param_labels),
            "opt_state": state.opt_state,
            "step": np.asarray(on_host(state.step), np.int32),
        }

    def save(
        self, state: TrainState, meta: dict[str, Any], score: float | None
    ) -> None:
        """Begin to save `state`; without a score it is never the best.

        Raises:
            NonFiniteError: it holds NaN or infinity.
            WeightsError: the save before failed, or this step is there already.
        """
        self.finish()
        tree = jax.tree.map(_own, self.tree(state))
        host = jax.tree.map(on_host, tree)
        step = int(host["step"])
        refuse_nonfinite(host, step)
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(host))
        manifest = Manifest(step, score, meta, self._run, leaf_shapes(host), {}, {})
        folder = self.folder / str(step)
        if jax.process_index() == 0:
            step_folders.make_room(folder)
        distributed.barrier("checkpoints: room")
        try:
            begin_save(self._orbax, folder, tree)
        except Exception as error:
            raise self._failed(folder, needed, error) from error
        commit = self._writer.submit(self._commit, manifest, folder, host)
        self._pending = folder, needed, commit

    def _commit(self, manifest: Manifest, folder: Path, host: Any) -> None:
        """Wait for orbax, read back what it wrote, and write the manifest."""
        leaves = hash_leaves(host)
        self._orbax.wait_until_finished()
        if jax.process_index() != 0:
            return
        wrong = check_leaves(folder, host, leaves)
        if wrong:
            raise DamageError(f"{folder}: not what was saved: {shorten(wrong)}")
        files = hash_files(folder)
        dataclasses.replace(manifest, leaves=leaves, files=files).write(folder)
        step_folders.retain(self.folder, self._keep)
        self._committed()

    def check(self) -> None:
        """Raise what a save that has ended has to say; wait for none."""
        if self._pending is not None and self._pending[2].done():
            self.finish()

    def finish(self) -> None:
        """Wait until what `save` began is written, read back and valid.

        Raises:
            WeightsError: it is not, and nothing of it is left.
        """
        if self._pending is None:
            return
        (folder, needed, commit), self._pending = self._pending, None
        try:
            commit.result()
        except Exception as error:  # orbax raises what it likes
            raise self._failed(folder, needed, error) from error

    def _failed(self, folder: Path, needed: int, error: Exception) -> UserError:
        if jax.process_index() == 0 and not (folder / "manifest.json").exists():
            step_folders.remove_attempt(folder)
        if isinstance(error, UserError):
            return error
        return disk_error(folder, needed, error)

    @property
    def newest(self) -> int | None:
        """The newest valid step."""
        found = step_folders.find_steps(self.folder)
        return next((s for s, m in found.items() if isinstance(m, Manifest)), None)

    def rescore(self, step: int, meta: dict[str, Any], score: float | None) -> None:
        """Give the saved `step` another meta and score."""
        self.finish()
        if jax.process_index() == 0:
            saved = step_folders.find_steps(self.folder)[step]
            assert isinstance(saved, Manifest)  # this process restored it
            changed = dataclasses.replace(saved, meta=meta, score=score)
            changed.write(self.folder / str(step))
            step_folders.retain(self.folder, self._keep)

    def resume(self, state: TrainState, *, fall_back: bool = False) -> TrainState:
        """Return the newest saved state, or `state` where none is; see `restore`."""
        newest = self.restore(state, best=False, fall_back=fall_back)
        if newest is None:
            return state
        state, meta = newest
        self.resumed, self.behind = int(state.step), bool(meta["behind"])
        return state

    def restore(
        self, state: TrainState, *, best: bool, fall_back: bool = False
    ) -> tuple[TrainState, dict[str, Any]] | None:
        """Return the best or the newest saved state and its meta, None if none is.

        It lies on the devices of the leaves of `state`. With `fall_back` a damaged step
        is set aside, in words, and the one before is taken.

        Raises:
            WeightsError: the checkpoint is damaged or of another model.
        """
        self.finish()
        distributed.barrier("checkpoints: restore")
        found = step_folders.find_steps(self.folder)
        candidates = list(found)
        if best:
            valid = [m for m in found.values() if isinstance(m, Manifest)]
            candidates = [m.step for m in step_folders.by_score(valid)]
        for step in candidates:
            try:
                return self._read(step, found[step], state)
            except DamageError as error:
                if not fall_back:
                    raise WeightsError(
                        f"{error}; --resume auto falls back to the newest valid step, "
                        "or start again in another --workdir"
                    ) from error
                distributed.barrier("checkpoints: damaged")
                if jax.process_index() == 0:
                    aside = step_folders.set_aside(self.folder / str(step))
                    log.warning("%s; set aside as %s", error, aside.name)
                distributed.barrier("checkpoints: aside")
        return None

    def _read(
        self, step: int, saved: Manifest | DamageError, state: TrainState
    ) -> tuple[TrainState, dict[str, Any]]:
        if isinstance(saved, DamageError):
            raise saved
        folder, target = self.folder / str(step), self.tree(state)
        refuse_other_leaves(folder, saved, target)
        try:
            tree = self._orbax.restore(folder, jax.tree.map(_abstract, target))
        except Exception as error:  # orbax raises bare Exception too
            reason = (str(error).splitlines() or [repr(error)])[0][:200]
            raise DamageError(f"{folder}: unreadable ({reason})") from error
        got = hash_leaves(tree)
        wrong = [name for name in got if got[name] != saved.leaves[name]]
        if wrong:
            raise DamageError(f"{folder}: checksum mismatch in {', '.join(wrong)}")
        merged = merge_leaves(state.params, tree["params"])
        step_leaf, opt_state = tree["step"], tree["opt_state"]
        restored = state.replace(step=step_leaf, params=merged, opt_state=opt_state)
        return restored, dict(saved.meta)

    def close(self) -> None:
        """End what is under way; see `finish`."""
        try:
            self.finish()
        finally:
            self._writer.shutdown()
            self._orbax.close()

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self.close()
        except UserError as error:
            if kind is None:
                raise
            log.warning("%s", error)  # what ended the run says more


def _own(leaf: Any) -> Any:
    # On CPU orbax writes from the very buffer that the next train step, which is given
    # its input to keep, would overwrite; elsewhere it copies to the host first.
    if isinstance(leaf, jax.Array) and jax.default_backend() == "cpu":
        return jax.device_put(np.array(leaf), leaf.sharding)
    return leaf


def _abstract(leaf: Any) -> Any:
    if not isinstance(leaf, jax.Array):
        return leaf  # numpy stays numpy, whatever devices it was saved from
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)

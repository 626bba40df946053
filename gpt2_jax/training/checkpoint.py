"""Checkpoints of a run: what trains and the optimizer's state, through orbax."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax.training.train_state import TrainState
from orbax.checkpoint import checkpoint_managers

from gpt2_jax.errors import WeightsError
from gpt2_jax.training.optimizer import TRAIN
from gpt2_jax.tree import Params, flatten, unflatten

STATE, META, SHA256 = "state", "meta", "sha256"


def trained_leaves(params: Params, labels: Params) -> Params:
    """Return the subtree of `params` that trains."""
    flat_labels = flatten(labels)
    return unflatten(
        {
            path: leaf
            for path, leaf in flatten(params).items()
            if flat_labels[path] == TRAIN
        }
    )


def merge_leaves(params: Params, leaves: Params) -> Params:
    """Return `params` with `leaves` in their places."""
    return unflatten(flatten(params) | flatten(leaves))


def leaf_hashes(tree: Any) -> dict[str, str]:
    """Return the SHA-256 of each leaf's bytes, by its path in the pytree."""
    return {
        jax.tree_util.keystr(path): hashlib.sha256(
            np.asarray(leaf).tobytes()
        ).hexdigest()
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


class Checkpoints:
    """The last and the best state of a run, under `<workdir>/checkpoints`.

    Frozen leaves are not saved: they are the pretrained weights, bit for bit.
    """

    def __init__(self, workdir: Path, labels: Params) -> None:
        policies = checkpoint_managers
        self._labels = labels
        self._manager = ocp.CheckpointManager(
            (workdir / "checkpoints").absolute(),
            options=ocp.CheckpointManagerOptions(
                best_fn=lambda metrics: metrics["score"],
                # best_fn with max_to_keep alone would delete the last one.
                preservation_policy=policies.AnyPreservationPolicy(
                    [
                        policies.LatestN(1),
                        policies.BestN(get_metric_fn=lambda m: m["score"], n=1),
                    ]
                ),
            ),
        )

    def _tree(self, state: TrainState) -> dict[str, Any]:
        return {
            "params": trained_leaves(state.params, self._labels),
            "opt_state": state.opt_state,
            "step": np.asarray(state.step, np.int32),
        }

    def save(self, state: TrainState, meta: dict[str, Any], score: float) -> None:
        """Save `state` at its step; a step that is there already stays as it is.

        Raises:
            WeightsError: orbax did not take it.
        """
        step, tree = int(state.step), self._tree(state)
        if step in self._manager.all_steps():
            return
        saved = self._manager.save(
            step,
            args=ocp.args.Composite(
                **{
                    STATE: ocp.args.StandardSave(tree),
                    META: ocp.args.JsonSave(meta),
                    # orbax keeps no checksum of array data: a flipped bit would pass.
                    SHA256: ocp.args.JsonSave(leaf_hashes(tree)),
                }
            ),
            metrics={"score": score},
        )
        if not saved:  # orbax says no more than this
            raise WeightsError(
                f"{self._manager.directory}: step {step} was not saved; later steps "
                f"are there ({self._manager.latest_step()}): use another --workdir"
            )

    def restore(
        self, state: TrainState, *, best: bool
    ) -> tuple[TrainState, dict[str, Any]] | None:
        """Return the best or the last saved state and its meta, None if none is saved.

        Raises:
            WeightsError: the checkpoint is damaged or of another model.
        """
        self._manager.wait_until_finished()
        manager = self._manager
        step = manager.best_step() if best else manager.latest_step()
        if step is None:
            return None
        try:
            restored = manager.restore(
                step,
                args=ocp.args.Composite(
                    **{
                        STATE: ocp.args.StandardRestore(self._tree(state)),
                        META: ocp.args.JsonRestore(),
                        SHA256: ocp.args.JsonRestore(),
                    }
                ),
            )
            tree = restored[STATE]
            expected, got = restored[SHA256], leaf_hashes(tree)
            wrong = [path for path in got if got[path] != expected.get(path)]
            if wrong:
                raise ValueError(f"checksum mismatch in {', '.join(wrong)}")
        except Exception as error:  # orbax raises bare Exception on damaged arrays
            reason = str(error).splitlines()[0][:200]
            raise WeightsError(
                f"{manager.directory / str(step)}: cannot be restored ({reason}); "
                "remove this step, or start again in another --workdir"
            ) from error
        return state.replace(
            step=tree["step"],
            params=merge_leaves(state.params, tree["params"]),
            opt_state=tree["opt_state"],
        ), restored[META]

    def close(self) -> None:
        self._manager.wait_until_finished()
        self._manager.close()

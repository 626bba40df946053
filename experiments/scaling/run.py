"""What a device computes and sends as devices are added, each with the same work.

    python experiments/scaling/run.py --weights mini --trainable last_block

Compiles the train step for 1 to 8 simulated CPU devices and reads the compiler's own
counts; nothing is run.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.training.train_state import TrainState

from gpt2_jax.config import PARALLEL, PRESETS, TRAINABLE, TrainConfig
from gpt2_jax.model import GPT2, param_shapes
from gpt2_jax.training.optimizer import create_optimizer, frozen_split, label_params
from gpt2_jax.training.parallel import by_example, jit_programs, make_mesh, replicated
from gpt2_jax.training.pmap import pmap_programs
from gpt2_jax.training.steps import create_train_state

DEVICES = (1, 2, 4, 8)
STEPS = 2  # of one call; the compiler counts the body of a loop once


def all_reduced_bytes(hlo: str) -> int:
    """Add up the results of every all-reduce; all of them are float32."""
    total = 0
    for line in hlo.splitlines():
        if match := re.search(r"= (.*?) all-reduce(?:-start)?\(", line):
            for shape in re.findall(r"f32\[([\d,]*)\]", match[1]):
                total += 4 * int(np.prod([int(n) for n in shape.split(",") if n]))
    return total


def abstract_state(config: Any, trainable: str) -> tuple[dict[str, Any], TrainState]:
    """Return the keywords of the step, and the shapes of its state."""
    model, params = GPT2(config), param_shapes(config)
    labels = label_params(params, trainable, config.num_layers)
    split = frozen_split(labels, config.num_layers)
    done = {"wte", "wpe", *(f"h_{i}" for i in range(split))} if split else set()
    done |= {"ln_f"} if split > config.num_layers else set()
    params = {name: leaf for name, leaf in params.items() if name not in done}
    labels = {name: labels[name] for name in params}
    tx = create_optimizer(TrainConfig(trainable=(trainable,)), labels, 100)
    state = jax.eval_shape(lambda p: create_train_state(model, p, tx), params)
    state = state.replace(step=jax.ShapeDtypeStruct((), jnp.int32))
    return {"model": model, "labels": labels, "split": split}, state


def compile_step(
    parallel: str, num: int, step: dict[str, Any], state: Any, batches: dict[str, Any]
) -> Any:
    """Compile the train step of `batches` [S, B, ...] for `num` devices."""
    devices, count = jax.devices()[:num], np.int32(STEPS)
    key = jax.random.key(0)
    if parallel == "pmap":
        train, _ = pmap_programs(devices, **step)
        state = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((num, *x.shape), x.dtype), state
        )
        batches = {
            name: jax.ShapeDtypeStruct(
                (STEPS, num, x.shape[1] // num, *x.shape[2:]), x.dtype
            )
            for name, x in batches.items()
        }
    else:
        mesh = make_mesh(devices)
        train, _ = jit_programs(mesh, **step)
        state, batches = (
            jax.tree.map(
                lambda x, sharding=sharding: jax.ShapeDtypeStruct(
                    x.shape, x.dtype, sharding=sharding
                ),
                tree,
            )
            for tree, sharding in (
                (state, replicated(mesh)),
                (batches, by_example(mesh, axis=1)),
            )
        )
    return train.lower(state, batches, count, key).compile()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", choices=list(PRESETS), default="mini")
    parser.add_argument(
        "--trainable",
        choices=[t for t in TRAINABLE if t != "lora"],
        nargs="+",
        default=["last_block", "all"],
    )
    parser.add_argument("--width", type=int, default=128, help="tokens of each text")
    parser.add_argument("--per-device", type=int, default=8, help="texts of each step")
    arguments = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", max(DEVICES))
    config = dataclasses.replace(PRESETS[arguments.weights], num_classes=2)

    print("| trainable | wrapper | devices | Gflop per device | all-reduce MB |")
    print("|---|---|---|---|---|")
    for trainable in arguments.trainable:
        step, state = abstract_state(config, trainable)
        values = (config.embed_dim,) if step["split"] else ()
        for parallel in PARALLEL:
            for num in DEVICES:
                size = num * arguments.per_device
                width = 1 if step["split"] > config.num_layers else arguments.width
                name, dtype = (
                    ("features", jnp.float32) if values else ("tokens", "int32")
                )
                batches = {
                    name: jax.ShapeDtypeStruct((STEPS, size, width, *values), dtype),
                    "lengths": jax.ShapeDtypeStruct((STEPS, size), jnp.int32),
                    "labels": jax.ShapeDtypeStruct((STEPS, size), jnp.int32),
                    "weights": jax.ShapeDtypeStruct((STEPS, size), jnp.float32),
                }
                compiled = compile_step(parallel, num, step, state, batches)
                flops = compiled.cost_analysis()["flops"]
                sent = all_reduced_bytes(compiled.as_text())
                print(
                    f"| {trainable} | {parallel} | {num} | {flops / 1e9:.4f} | "
                    f"{sent / 1e6:.6f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()

"""Tokens per second of our training step, beside a plain PyTorch loop, in turn.

    python -m experiments.pretrain.bench --batch-size 2 --length 128

needs the extra packages torch and transformers. Same architecture, same random tokens,
AdamW in both; each is compiled or warmed up before it is timed. On CUDA torch computes
under bfloat16's autocast if --dtype says so, and through torch.compile with --compile.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable

import jax
import numpy as np

from experiments.pretrain.config import CHOICES, PretrainConfig
from experiments.pretrain.steps import init_state
from gpt2_jax import GPT2
from gpt2_jax.engine.jit import make_mesh
from gpt2_jax.engine.language_model import compile_programs

Step = Callable[[np.ndarray], float]


def ours(config: PretrainConfig) -> Step:
    mesh = make_mesh(jax.devices()[:1])
    programs = compile_programs(GPT2(config.model), mesh, config.accumulate)
    state = programs.place(init_state(config))

    def step(windows: np.ndarray) -> float:
        nonlocal state
        state, loss = programs.train(state, programs.cut(windows))
        return loss.item()

    return step


def plain_torch(config: PretrainConfig, *, compiled: bool) -> Step:
    import torch
    import transformers

    device = "cuda" if torch.cuda.is_available() else "cpu"
    sizes = transformers.GPT2Config(
        n_positions=config.length,
        n_embd=config.embed_dim,
        n_layer=config.num_layers,
        n_head=config.num_heads,
        attn_pdrop=0.0,
        embd_pdrop=0.0,
        resid_pdrop=0.0,
    )
    with torch.device(device):
        model = transformers.GPT2LMHeadModel(sizes)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        config.learning_rate,
        (0.9, 0.95),
        weight_decay=config.weight_decay,
    )
    forward = torch.compile(model) if compiled else model
    half = config.dtype == "bfloat16"

    def step(windows: np.ndarray) -> float:
        tokens = torch.from_numpy(windows).long().to(device)
        with (
            torch.autocast(device, torch.bfloat16) if half else contextlib.nullcontext()
        ):
            logits = forward(input_ids=tokens[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1).float(), tokens[:, 1:].flatten()
        )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--batch-size", type=int, default=2)
    add("--length", type=int, default=128)
    add("--accumulate", type=int, default=1, help="of ours alone")
    add("--dtype", default="float32", choices=CHOICES["dtype"])
    add("--compile", action="store_true", help="torch.compile")
    add("--steps", type=int, default=3, help="of a turn")
    add("--turns", type=int, default=5)
    arguments = parser.parse_args()
    config = PretrainConfig(
        batch_size=arguments.batch_size,
        length=arguments.length,
        accumulate=arguments.accumulate,
        dtype=arguments.dtype,
        optimizer="adamw",
    )
    size = (config.batch_size, config.length + 1)
    windows = np.random.default_rng(0).integers(0, 50257, size, np.int32)
    steps = {
        "gpt2_jax": ours(config),
        "PyTorch": plain_torch(config, compiled=arguments.compile),
    }
    rates: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        for _ in range(2):  # compiled, and warm
            step(windows)
    for _ in range(arguments.turns):
        for name, step in steps.items():
            start = time.perf_counter()
            for _ in range(arguments.steps):
                step(windows)
            tokens = arguments.steps * config.batch_size * config.length
            rates[name].append(tokens / (time.perf_counter() - start))
    for name, found in rates.items():
        print(
            f"{name}: {statistics.median(found):,.0f} tokens/s, median of "
            f"{len(found)} turns ({min(found):,.0f} to {max(found):,.0f})"
        )
    ratios = [a / b for a, b in zip(*rates.values(), strict=True)]
    print(f"ratio, median of the turns: {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()

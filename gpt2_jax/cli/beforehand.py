"""What `finetune` does in the place of training: `--dry-run`, `--compile-only`."""

from __future__ import annotations

import argparse
import dataclasses
import json

from gpt2_jax import config
from gpt2_jax.errors import DeviceError, UserError


def set_up_devices(
    arguments: argparse.Namespace, resolved: config.FinetuneConfig
) -> None:
    """Do so before any use of a device: the cache, determinism, `--device`."""
    from gpt2_jax.engine.compilation import set_up_compilation
    from gpt2_jax.engine.devices import make_deterministic, require_platform

    set_up_compilation(arguments)
    if resolved.train.deterministic:
        make_deterministic()
    if arguments.device is not None:
        require_platform(arguments.device)


def compile_programs(
    arguments: argparse.Namespace, resolved: config.FinetuneConfig
) -> int:
    """Fill the compilation cache with what the run will need: `--compile-only`."""
    import jax

    from gpt2_jax.training.compile_only import compile_only

    if arguments.no_compilation_cache:
        raise UserError(
            "--compile-only with --no-compilation-cache keeps nothing; omit one of them"
        )
    set_up_devices(arguments, resolved)
    folder = jax.config.values["jax_compilation_cache_dir"]
    if folder is None:  # the line before says why
        raise DeviceError("--compile-only: name a folder in JAX_COMPILATION_CACHE_DIR")
    found = compile_only(
        resolved, verbose=not arguments.quiet, offline=arguments.offline
    )
    if arguments.json:
        print(json.dumps({**dataclasses.asdict(found), "folder": folder}))
    elif not arguments.quiet:
        print(
            f"compiled: {found.misses} programs in {found.seconds:.1f} s, in {folder}; "
            f"{found.hits} were there"
        )
    return 0


def dry_run(arguments: argparse.Namespace, resolved: config.FinetuneConfig) -> int:
    """Print what would run, and what it would take: `--dry-run`."""
    from gpt2_jax.plan.describe import describe, describe_data, length_histogram
    from gpt2_jax.plan.estimate import describe_estimate, estimate, matmul_rate
    from gpt2_jax.plan.prepare import prepare

    task = prepare(resolved, offline=arguments.offline)
    rate = matmul_rate(task.model.config)
    found = estimate(task)
    if arguments.json:
        told = {
            "config": config.to_dict(resolved),
            "steps": task.num_steps,
            "data": describe_data(task),
            "estimate": {**dataclasses.asdict(found), "flops_per_second": rate},
        }
        print(json.dumps(told))
        return 0
    print(json.dumps(config.to_dict(resolved), indent=2))
    print(*describe(task), *length_histogram(task), sep="\n")
    print(*describe_estimate(found, rate), sep="\n")
    return 0

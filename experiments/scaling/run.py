"""What a device computes and sends as devices are added, each with the same work.

    python experiments/scaling/run.py --weights mini --trainable last_block

Compiles the train step for 1 to 8 simulated CPU devices and reads the compiler's own
counts; nothing is run.
"""

from __future__ import annotations

import argparse
import dataclasses

import jax

from gpt2_jax.config import PARALLEL, PRESETS, TRAINABLE, TrainConfig
from gpt2_jax.plan.abstract import abstract_run
from gpt2_jax.plan.aot import compile_train
from gpt2_jax.plan.counting import collective_bytes

DEVICES = (1, 2, 4, 8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", choices=list(PRESETS), default="mini")
    parser.add_argument(
        "--trainable",
        choices=TRAINABLE,
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
        for parallel in PARALLEL:
            for num in DEVICES:
                train = TrainConfig(
                    trainable=(trainable,),
                    parallel=parallel,
                    batch_size=num * arguments.per_device,
                )
                run, devices = abstract_run(config, train), jax.devices()[:num]
                compiled = compile_train(run, train, devices, arguments.width)
                flops = compiled.cost_analysis()["flops"]
                sent = collective_bytes(compiled.as_text()).get("all-reduce", 0)
                print(
                    f"| {trainable} | {parallel} | {num} | {flops / 1e9:.4f} | "
                    f"{sent / 1e6:.6f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()

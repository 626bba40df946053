"""Test accuracy of `mini` on the SMS Spam Collection, over seeds.

    python experiments/sms_spam/run.py --seeds 0 1 2 3 4

prints the table of README.md. Finished runs under `checkpoints/sms_spam` are read, not
repeated.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

from gpt2_jax import finetune
from gpt2_jax.config import FINETUNE_PRESETS, DataConfig, FinetuneConfig

_SMS = dataclasses.replace(FinetuneConfig(), data=DataConfig(source="sms-spam"))
_BOOK = FINETUNE_PRESETS["book"]
SETTINGS: dict[str, FinetuneConfig] = {
    "--data sms-spam": _SMS,
    "--preset book --pool last_real": dataclasses.replace(_BOOK, pool="last_real"),
    "--preset book": _BOOK,
}


def results(name: str, seed: int, workdir: Path) -> dict:
    """Return results.json of one run, which is made if it is not there."""
    run = workdir / f"{list(SETTINGS).index(name)}-seed{seed}"
    if (run / "results.json").is_file():
        return json.loads((run / "results.json").read_text("utf-8"))
    config = SETTINGS[name]
    train = dataclasses.replace(config.train, seed=seed)
    config = dataclasses.replace(config, train=train)
    return finetune(config, run, resume=(run / "config.json").is_file())


def table(workdir: Path, seeds: Sequence[int]) -> list[str]:
    """Return the Markdown table of every setting, in percent."""
    lines = [
        "| settings | test accuracy, each seed | mean ± sd | TF-IDF + logistic "
        "regression | seconds, median |",
        "|---|---|---|---|---|",
    ]
    for name in SETTINGS:
        runs = [results(name, seed, workdir) for seed in seeds]
        accuracies = [100 * run["accuracy"]["test"] for run in runs]
        spread = statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
        baseline = runs[0]["baselines"]["tfidf_logreg"]
        seconds = statistics.median(run["seconds"]["total"] for run in runs)
        lines.append(
            f"| `{name}` | {', '.join(f'{a:.2f}' for a in accuracies)} | "
            f"{statistics.mean(accuracies):.2f} ± {spread:.2f} | "
            + ("not measured" if baseline is None else f"{100 * baseline:.2f}")
            + f" | {seconds:.1f} |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument(
        "--workdir", type=Path, default=Path("checkpoints/sms_spam"), metavar="DIR"
    )
    arguments = parser.parse_args()
    print(*table(arguments.workdir, arguments.seeds), sep="\n")


if __name__ == "__main__":
    main()

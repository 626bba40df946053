"""How much memory and time do files take that are far larger than any so far?

    python experiments/benchmarks/large.py RUN

Each row is a process of its own: `predict` over 5,000 and 5,000,000 lines with a stub
in the place of the model, so that reader, tokenizer and writer are what is measured;
`predict` over 5,000 and 50,000 with the model; `finetune` on 12,500 and 100,000 texts
of the demo, each with a number, for one epoch, the outputs of the trunk kept in memory
or in a file. Prints a row of Markdown for each: seconds, the most memory that the
process held, and the most without pages of files. `--rows` names some of `ROWS` alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from gpt2_jax.config import DataConfig
from gpt2_jax.data.sources import load_dataset

HEADER = """| what | texts | seconds | microseconds a text | peak MB | its own MB |
|---|---|---|---|---|---|"""
# What is measured, and over how many texts.
ROWS = {
    "predict, a stub for the model": (5_000, 5_000_000),
    "predict": (5_000, 50_000),
    "finetune": (12_500, 100_000),
    "finetune, outputs of the trunk in a file": (12_500, 100_000),
}
STUB = """
import sys
import numpy as np
from gpt2_jax.cli.main import main
from gpt2_jax.inference.classifier import Classifier
Classifier._proba = lambda self, given, encoded: np.tile(
    np.float64([1] + [0] * (len(self.labels) - 1)), (len(given), 1))
sys.exit(main(sys.argv[1:]))
"""

# A process begins with the peak of the one that starts it: so a small one does.
LAUNCH = """
import os, subprocess, sys, time
started = time.perf_counter()
silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
process = subprocess.Popen(sys.argv[1:], **silent)
own, ended = 0, 0
while not ended:
    time.sleep(0.01)
    with open(f"/proc/{process.pid}/status") as file:
        lines = [line.split() for line in file if line.startswith("RssAnon")]
    own = max(own, *(int(line[1]) for line in lines), 0)
    ended, status, used = os.wait4(process.pid, os.WNOHANG)
process.returncode = os.waitstatus_to_exitcode(status)
print(process.returncode, time.perf_counter() - started, used.ru_maxrss, own)
"""


def write_texts(path: Path, count: int, *, labelled: bool) -> None:
    """Write `count` texts, all different: those of the demo, each with a number."""
    dataset = load_dataset(DataConfig())
    own = [" ".join(text.split()) for text in dataset.texts]
    with path.open("w", encoding="utf-8") as file:
        for i in range(count):
            text = f"{own[i % len(own)]} {i}"
            if labelled:
                label = dataset.classes[dataset.labels[i % len(own)]]
                file.write(json.dumps({"text": text, "label": label}) + "\n")
            else:
                file.write(text + "\n")


def measured(command: Sequence[str]) -> tuple[float, float, float]:
    """Return the seconds that a command took, its peak memory in MB, and its own.

    That is without pages of files, which the kernel takes back where it needs them;
    looked at every hundredth of a second.
    """
    launched = [sys.executable, "-c", LAUNCH, *command]
    told = subprocess.run(launched, capture_output=True, text=True, check=True)
    exit_code, seconds, *kibibytes = told.stdout.split()
    if exit_code != "0":
        sys.exit(f"exit code {exit_code}: {' '.join(command)}")
    peak, own = (1024 * int(each) / 1e6 for each in kibibytes)
    return float(seconds), peak, own


def command_of(what: str, run: Path, texts: Path, folder: Path) -> list[str]:
    """Return the command of a row."""
    if what.startswith("finetune"):
        flags = ["finetune", "--data", str(texts), "--epochs", "1", "--quiet"]
        if "file" in what:
            flags += ["--reuse-max-bytes", "0"]
        return [sys.executable, "-m", "gpt2_jax", *flags, "--workdir", str(folder)]
    start = ["-c", STUB] if "stub" in what else ["-m", "gpt2_jax"]
    files = ["--file", str(texts), "--output", str(folder.with_suffix(".csv"))]
    return [sys.executable, *start, "predict", str(run), *files, "--quiet"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--rows", nargs="+", default=[*ROWS], choices=[*ROWS])
    parser.add_argument("--counts", nargs="+", type=int, help="in the place of ROWS'")
    arguments = parser.parse_args()
    print(HEADER)
    for what in arguments.rows:
        for count in arguments.counts or ROWS[what]:
            with tempfile.TemporaryDirectory() as folder:
                texts = Path(folder) / "texts.jsonl"
                labelled = what.startswith("finetune")
                if not labelled:
                    texts = texts.with_suffix(".txt")
                write_texts(texts, count, labelled=labelled)
                command = command_of(what, arguments.run, texts, Path(folder) / "run")
                seconds, peak, own = measured(command)
            each = f"{1e6 * seconds / count:.0f} | {peak:.0f} | {own:.0f}"
            print(f"| {what} | {count:,} | {seconds:.1f} | {each} |")
            sys.stdout.flush()
    load = " ".join(f"{x:.1f}" for x in os.getloadavg())
    print(f"\n{os.cpu_count()} cores, load {load}")


if __name__ == "__main__":
    main()

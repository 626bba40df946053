"""Layouts of weights as other programs write them, read by us.

    python -m experiments.layouts.run [--python OTHER] [--keep FOLDER]

prints a table: what was accepted, with the largest difference of a logit to PyTorch's,
and what was refused, in which words. It fails where one is not as expected.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from experiments.layouts.spec import TOKENS
from gpt2_jax.config import ForeignConfig
from gpt2_jax.errors import UserError
from gpt2_jax.model.gpt2 import GPT2
from gpt2_jax.weights.foreign import read_classifier
from gpt2_jax.weights.pretrained import load_pretrained

TOLERANCE = 1e-4  # of a logit


@dataclasses.dataclass(frozen=True)
class Outcome:
    name: str
    writer: str
    said: str | None  # one line of a refusal
    difference: float | None  # of an accepted one
    failure: str | None = None  # what is wrong with that


def read(told: Path) -> Outcome:
    """Read one layout that `write` wrote."""
    facts = json.loads(told.read_text("utf-8"))
    name, writer = facts["name"], facts["title"]
    if "missing" in facts:
        return Outcome(name, writer, f"not written here: {facts['missing']}", None)
    place = told.with_suffix("")
    try:
        got = _logits(place / facts["path"], dict(facts["told"]))
    except UserError as error:
        said = str(error).replace(f"{place}/", "").replace(str(place), ".")
        return Outcome(name, writer, said, None, failure_of(said, facts["refused"]))
    if facts["refused"]:
        return Outcome(name, writer, None, None, "accepted, though it must not be")
    expected = np.load(place.with_suffix(".npy"))
    if got.shape != expected.shape:
        return Outcome(name, writer, None, None, f"{got.shape}, not {expected.shape}")
    difference = float(np.abs(got - expected).max())
    failure = None if difference <= TOLERANCE else "other logits"
    return Outcome(name, writer, None, difference, failure)


def failure_of(said: str, refused: str | None) -> str | None:
    """Say what is wrong with a refusal, which must say `refused`; None: nothing."""
    if refused is None:
        return "refused, though it can be read"
    if "\n" in said:
        return "several lines"
    return None if re.search(refused, said) else f"does not say {refused!r}"


def _logits(path: Path, told: dict[str, Any]) -> np.ndarray:
    if told.pop("as_classifier", False):
        classes = tuple(f"class {i}" for i in range(told["classes"]))
        trained = read_classifier(path, ForeignConfig(classes=classes))
        config, params = trained.config, trained.params
    else:
        config, params = load_pretrained(path, **told, offline=True)
    lengths = jnp.full(len(TOKENS), TOKENS.shape[1], jnp.int32)
    tokens = jnp.asarray(TOKENS, jnp.int32)
    return np.asarray(GPT2(config).apply({"params": params}, tokens, lengths))


def table_of(outcomes: list[Outcome]) -> str:
    rows = ["| layout | writer | outcome |", "|---|---|---|"]
    for each in outcomes:
        said = each.said if each.difference is None else f"{each.difference:.1e}"
        said = f"**{each.failure}**: {said}" if each.failure else str(said)
        cells = [each.name, each.writer, said]
        rows.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", action="append", default=[], help="also writes")
    parser.add_argument("--keep", type=Path, help="the folder of the files")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.keep or Path(temporary)).resolve()
        for python in (sys.executable, *arguments.python):
            command = [python, "-m", "experiments.layouts.write", str(folder)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        outcomes = [read(told) for told in sorted(folder.glob("[0-9][0-9][0-9].json"))]
    print(table_of(outcomes))
    had = [each for each in outcomes if not str(each.said).startswith("not written")]
    accepted = [e.difference for e in had if e.difference is not None]
    failed = [each for each in had if each.failure]
    print(
        f"\n{len(had)} layouts: {len(accepted)} accepted with logits within "
        f"{max(accepted):.1e} of PyTorch's, {len(had) - len(accepted)} refused; "
        f"{len(failed)} not as expected."
    )
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()

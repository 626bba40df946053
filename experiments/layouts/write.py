"""Write all layouts whose writers are installed here; needs torch, not gpt2-jax.

    python -m experiments.layouts.write FOLDER

A layout is a folder of its number with the files; beside it stand what is to come of it
and PyTorch's logits. One that is there already is left alone, so that several
environments can add theirs.
"""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np

from experiments.layouts.spec import LAYOUTS

MODULES = (
    *("hugging_face", "torch_files", "book", "karpathy"),
    *("frameworks", "adapters", "others"),
)


def write(folder: Path) -> None:
    for module in MODULES:
        importlib.import_module(f"experiments.layouts.{module}")
    for number, each in enumerate(LAYOUTS):
        place = folder / f"{number:03}"
        told = place.with_suffix(".json")
        facts = {
            "name": each.name,
            "title": each.title,
            "path": each.path,
            "refused": each.refused,
            "told": each.told,
        }
        before = json.loads(told.read_text("utf-8")) if told.is_file() else {}
        if before and "missing" not in before:
            continue
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        try:
            expected = each.write(place)
        except Exception as error:  # whatever another version of a writer raises
            reason = (str(error).splitlines() or [""])[0]
            reason = f"{type(error).__name__}: {reason}"
            absent = isinstance(error, ImportError)  # what another has said tells more
            facts["missing"] = before.get("missing", reason) if absent else reason
            expected = None
        if expected is not None:
            np.save(place.with_suffix(".npy"), expected)
        told.write_text(json.dumps(facts), "utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]).resolve())

"""The newest checkpoint of a run as a Hugging Face folder, as the shipped base is.

python -m experiments.pretrain.export RUN FOLDER
gpt2-jax finetune --weights FOLDER
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import jax
import numpy as np

from experiments.pretrain.train import restored
from gpt2_jax import load_pretrained
from gpt2_jax.errors import UserError
from gpt2_jax.export.hugging_face import write_language_model
from gpt2_jax.export.language_model import check_parameters
from gpt2_jax.storage.atomic import creating


def export(run: Path, folder: Path) -> str:
    """Write `folder`, which must not exist; return what was checked.

    Raises:
        UserError: the run has no checkpoint, or the folder cannot be written.
    """
    with restored(run) as (config, state), creating(folder) as path:
        params = jax.tree.map(np.asarray, state.params)
        model = dataclasses.replace(config.model, dtype="float32")
        write_language_model(path, model, params)
        return check_parameters(params, load_pretrained(path)[1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    try:
        print(export(arguments.run, arguments.folder))
    except UserError as error:
        parser.exit(error.exit_code, f"error: {error}\n")


if __name__ == "__main__":
    main()

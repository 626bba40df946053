"""Our param pytree as an orbax checkpoint in a folder, with what it takes to read it.

params/       the pytree, written by orbax's StandardCheckpointer
config.json   {"gpt2_jax": fields of GPT2Config, "sha256": {file of params/: hash}}, and
              the hash of both
"""

from __future__ import annotations

import json
from pathlib import Path

from gpt2_jax import config as configs
from gpt2_jax.config import GPT2Config
from gpt2_jax.errors import WeightsError
from gpt2_jax.model.gpt2 import param_shapes
from gpt2_jax.model.tree import Params, flatten
from gpt2_jax.storage.sealed import read_sealed, sealed, sha256_of

_CONFIG, _PARAMS = "config.json", "params"


def is_one(path: Path) -> bool:
    return (path / _PARAMS).is_dir() and (path / _CONFIG).is_file()


def write(folder: Path, config: GPT2Config, params: Params) -> None:
    """Write `folder`, which must not exist."""
    import orbax.checkpoint as ocp  # slow to import, and rarely needed

    folder.mkdir(parents=True)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save((folder / _PARAMS).absolute(), params)
    values = sealed({"gpt2_jax": configs.to_dict(config), "sha256": _hashes(folder)})
    (folder / _CONFIG).write_text(json.dumps(values, indent=2) + "\n", "utf-8")


def read(folder: Path) -> tuple[GPT2Config, Params]:
    """Return the config and the params (numpy) of what `write` wrote.

    Raises:
        WeightsError: it is damaged, which the hashes tell: orbax restores flipped bits
            without a word.
    """
    import orbax.checkpoint as ocp

    values = read_sealed(folder / _CONFIG)
    try:
        config = configs.from_dict(GPT2Config, values["gpt2_jax"])
        expected = dict(values["sha256"])
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{folder / _CONFIG}: {error!r}") from error
    got = _hashes(folder)
    for name in sorted({*got, *expected}):
        if got.get(name) != expected.get(name):
            raise WeightsError(
                f"{folder / _PARAMS / name}: damaged (SHA-256 expected "
                f"{expected.get(name)}, got {got.get(name)}); get the folder again"
            )
    with ocp.StandardCheckpointer() as checkpointer:
        # Without a target: with one, orbax cuts or pads arrays of another shape to it.
        params = checkpointer.restore((folder / _PARAMS).absolute())
    if _shapes(params) != _shapes(param_shapes(config)):
        raise WeightsError(f"{folder}: its parameters are not those of its {_CONFIG}")
    return config, params


def _shapes(params: Params) -> dict[str, tuple[int, ...]]:
    return {path: leaf.shape for path, leaf in flatten(params).items()}


def _hashes(folder: Path) -> dict[str, str]:
    root = folder / _PARAMS
    return {
        str(path.relative_to(root)): sha256_of(path)
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }

"""Our param pytree as an orbax checkpoint in a folder, with what it takes to read it.

params/       the pytree, written by orbax's StandardCheckpointer
config.json   {"gpt2_jax": fields of GPT2Config, "sha256": {file of params/: hash}}, and
              the hash of all that; a tokenizer that is not GPT-2's lies beside it,
              its hashes are in "tokenizer"
"""

from __future__ import annotations

from pathlib import Path

from gpt2_jax import config as configs
from gpt2_jax.config import GPT2Config
from gpt2_jax.errors import WeightsError
from gpt2_jax.model.gpt2 import param_shapes
from gpt2_jax.model.tree import Params, flatten
from gpt2_jax.storage.atomic import write_json
from gpt2_jax.storage.orbax_saves import begin_save
from gpt2_jax.storage.sealed import FILES, check_files, hash_files, read_sealed, sealed
from gpt2_jax.tokenizer import Tokenizer
from gpt2_jax.weights.tokenizer_folder import read_tokenizer, write_files

_CONFIG, _PARAMS, _TOKENIZER = "config.json", "params", "tokenizer"


def is_one(path: Path) -> bool:
    return (path / _PARAMS).is_dir() and (path / _CONFIG).is_file()


def write(
    folder: Path,
    config: GPT2Config,
    params: Params,
    tokenizer: Tokenizer | None = None,
) -> None:
    """Write `folder`, which must not exist; None: there is no tokenizer, or GPT-2's."""
    import orbax.checkpoint as ocp  # slow to import, and rarely needed

    folder.mkdir(parents=True)
    with ocp.StandardCheckpointer() as checkpointer:
        begin_save(checkpointer, (folder / _PARAMS).absolute(), params)
    values = {"gpt2_jax": configs.to_dict(config), FILES: hash_files(folder / _PARAMS)}
    if tokenizer is not None and not tokenizer.is_gpt2s:
        write_files(folder, tokenizer)
        values[_TOKENIZER] = hash_files(folder, only=tokenizer.files)
    write_json(folder / _CONFIG, sealed(values))


def read(folder: Path) -> tuple[GPT2Config, Params, Tokenizer | None]:
    """Return the config, the params (numpy) and the tokenizer of what `write` wrote.

    Raises:
        WeightsError: it is damaged, which the hashes tell: orbax restores flipped bits
            without a word.
    """
    import orbax.checkpoint as ocp

    values = read_sealed(folder / _CONFIG)
    try:
        config = configs.from_dict(GPT2Config, values["gpt2_jax"])
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{folder / _CONFIG}: {error!r}") from error
    hashes, way = values.get(FILES), "get the folder again"
    check_files(folder / _PARAMS, folder / _CONFIG, hashes, way, alone=True)
    with ocp.StandardCheckpointer() as checkpointer:
        # Without a target: with one, orbax cuts or pads arrays of another shape to it.
        params = checkpointer.restore((folder / _PARAMS).absolute())
    if _shapes(params) != _shapes(param_shapes(config)):
        raise WeightsError(f"{folder}: its parameters are not those of its {_CONFIG}")
    tokenizer = None
    if _TOKENIZER in values:
        check_files(folder, folder / _CONFIG, values[_TOKENIZER], way)
        tokenizer = read_tokenizer(folder, values[_TOKENIZER])
    return config, params, tokenizer


def _shapes(params: Params) -> dict[str, tuple[int, ...]]:
    return {path: leaf.shape for path, leaf in flatten(params).items()}

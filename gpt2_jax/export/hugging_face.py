"""A trained classifier as a folder for transformers' GPT2ForSequenceClassification."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gpt2_jax.config import GPT2Config
from gpt2_jax.errors import UserError
from gpt2_jax.export.tokenizer_files import pad_id, write_tokenizer
from gpt2_jax.model.tree import Params
from gpt2_jax.storage.sealed import write_sums
from gpt2_jax.tokenizer import Tokenizer
from gpt2_jax.weights import files
from gpt2_jax.weights.convert import convert_state_dict, to_state_dict
from gpt2_jax.weights.rules import HUGGING_FACE
from gpt2_jax.weights.safetensors import write_safetensors
from gpt2_jax.weights.trained import TrainedModel

FOLDED = ("ln_f/bias", "out_head/bias")  # what `fold_bias` changes

_README = """\
---
library_name: "transformers"
pipeline_tag: "text-classification"
---
# A text classifier
A GPT-2 text classifier with the classes {classes}, exported by gpt2-jax {version}.

## Use
"""

_USE = """\
```python
from transformers import pipeline

classify = pipeline("text-classification", model="path/of/this/folder", top_k=None)
classify(["a text", "another one"], batch_size=8, truncation=True)
```
It gives the probabilities of `gpt2_jax.Classifier` (to 1e-5, checked when it was
written), if these are minded:
- Pass `truncation=True`: the classifier reads the first {length} tokens of a text, and
  a pipeline cuts nothing by itself.
- An empty text has no token here: alone it is an error, and in a batch it is nothing
  but padding and gets other probabilities. gpt2-jax reads it as one `{end}`;
  give the model `input_ids=[{nothing}]` for the same.
- The tokenizer takes `{end}` in a text as plain text, as gpt2-jax does. Where
  `input_ids` end in the true token {pad}, the model takes it for padding and reads the
  token before it.
- Pad on the right, as this tokenizer does: the model numbers positions from the left.

The head's bias, which this architecture has not, is part of the bias of `ln_f`; the
temperature of the calibration is part of the head.
"""


def write_classifier(
    folder: Path, trained: TrainedModel, card: str | None = None
) -> None:
    """Write config, weights, tokenizer and a README: the run's card, if there is one.

    Raises:
        UserError: the head's bias cannot be expressed.
    """
    own = trained.tokenizer
    values = classifier_values(trained)
    params = fold_bias(trained.params)
    write_folder(folder, trained.config, params, HEAD, values, own)
    write_tokenizer(folder, trained.max_length, classifier=True, tokenizer=own)
    (folder / "README.md").write_text(readme(trained, card), "utf-8")
    write_sums(folder)


def readme(trained: TrainedModel, card: str | None) -> str:
    """Return the card for the hub, whose section on use is that of transformers."""
    from gpt2_jax.version import __version__

    own = trained.tokenizer
    use = _USE.format(
        length=trained.max_length,
        pad=pad_id(own),
        end=own.name_of(own.end_id),
        nothing=own.encode(""),
    )
    if card is not None:
        before, heading, after = card.partition("\n## Use\n")
        _, limits, rest = after.partition("\n## ")
        if heading and limits:
            before = before.replace(
                '\nlibrary_name: "gpt2-jax"\n', '\nlibrary_name: "transformers"\n', 1
            )
            return before + heading + use + limits + rest
    classes = ", ".join(f"`{name}`" for name in trained.classes)
    return _README.format(classes=classes, version=__version__) + use


def classifier_values(trained: TrainedModel) -> dict[str, Any]:
    """Return what a classifier's config.json says beside the sizes."""
    names = dict(enumerate(trained.classes))
    return {
        "architectures": ["GPT2ForSequenceClassification"],
        "problem_type": "single_label_classification",
        "pad_token_id": pad_id(trained.tokenizer),
        "id2label": {str(index): name for index, name in names.items()},
        "label2id": {name: index for index, name in names.items()},
    }


def read_classifier(folder: Path, config: GPT2Config) -> Params:
    """Read back what `write_classifier` wrote; the head's bias is zero now."""
    state = files.read_state_dict(folder)
    kernel = np.ascontiguousarray(state.pop(HEAD).T)
    state = {name.removeprefix(PREFIX): value for name, value in state.items()}
    body = convert_state_dict(state, dataclasses.replace(config, num_classes=None))
    bias = np.zeros(kernel.shape[-1], np.float32)
    return {**body, "out_head": {"kernel": kernel, "bias": bias}}


def fold_bias(params: Params) -> Params:
    """Move the head's bias b into the bias of ln_f, of which it is a linear function.

    The shortest d with W d = b is d = W^T (W W^T)^-1 b; W (x + d) is W x + b.

    Raises:
        UserError: there is no such d.
    """
    head, norm = params["out_head"], params["ln_f"]
    weight = np.asarray(head["kernel"], np.float64).T  # [C, D]
    bias = np.asarray(head["bias"], np.float64)
    shift = np.linalg.lstsq(weight, bias)[0]
    if not np.allclose(weight @ shift, bias, rtol=0, atol=1e-7):
        raise UserError(
            f"--format hf cannot express the head's bias: {weight.shape[0]} logits are "
            f"not independent at width {weight.shape[1]}; use --format stablehlo"
        )
    moved = (np.asarray(norm["bias"], np.float64) + shift).astype(np.float32)
    return {
        **params,
        "ln_f": {**norm, "bias": moved},
        "out_head": {**head, "bias": np.zeros_like(head["bias"])},
    }


HEAD, LANGUAGE_HEAD = "score.weight", "lm_head.weight"


PREFIX = "transformer."  # before every name but a head's


def write_language_model(
    folder: Path,
    config: GPT2Config,
    params: Params,
    tokenizer: Tokenizer | None = None,
) -> None:
    """Write what `AutoModelForCausalLM` loads, with the tokenizer if there is one."""
    values = {
        "architectures": ["GPT2LMHeadModel"],
        "tie_word_embeddings": config.tied,
    }
    write_folder(folder, config, params, LANGUAGE_HEAD, values, tokenizer)
    if tokenizer is not None:
        length = config.max_len
        write_tokenizer(folder, length, classifier=False, tokenizer=tokenizer)
    write_sums(folder)


def write_folder(
    folder: Path,
    config: GPT2Config,
    params: Params,
    head: str,
    values: Mapping[str, Any],
    tokenizer: Tokenizer | None,
) -> None:
    """Write config.json and model.safetensors; the kernel of `out_head` is `head`."""
    folder.mkdir(parents=True)
    write_config(folder, config, values, tokenizer)
    body = {name: leaf for name, leaf in params.items() if name != "out_head"}
    state = to_state_dict(body, HUGGING_FACE, PREFIX)
    if "out_head" in params:
        state[head] = np.ascontiguousarray(np.asarray(params["out_head"]["kernel"]).T)
    write_safetensors(folder / files.SINGLE, state)


def write_config(
    folder: Path,
    config: GPT2Config,
    values: Mapping[str, Any],
    tokenizer: Tokenizer | None,
) -> None:
    """Write config.json: the sizes, and then `values`."""
    end = None if tokenizer is None else tokenizer.end_id
    config_json = {
        "model_type": "gpt2",
        "vocab_size": config.vocab_size,
        "n_positions": config.max_len,
        "n_embd": config.embed_dim,
        "n_layer": config.num_layers,
        "n_head": config.num_heads,
        "n_inner": config.inner_dim,
        "activation_function": config.activation,
        "layer_norm_epsilon": config.layer_norm_epsilon,
        "attn_pdrop": config.dropout_rate,
        "embd_pdrop": config.dropout_rate,
        "resid_pdrop": config.dropout_rate,
        "bos_token_id": end,
        "eos_token_id": end,
        "dtype": "float32",
        **values,
    }
    text = json.dumps(config_json, indent=2, ensure_ascii=False) + "\n"
    (folder / "config.json").write_text(text, "utf-8")

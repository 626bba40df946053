"""From a config to a `Task`: load, split and encode the data, replace the head."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gpt2_jax.config import FinetuneConfig, LayoutConfig
from gpt2_jax.data.dataset import Dataset
from gpt2_jax.data.labels import positive_class
from gpt2_jax.data.sources import load_dataset
from gpt2_jax.data.split import Split, split_dataset
from gpt2_jax.data.too_few import fill_no_batch
from gpt2_jax.engine.long import all_pieces, first_pieces
from gpt2_jax.engine.param_labels import label_params, trunk_depth
from gpt2_jax.engine.texts import Texts, lay_out
from gpt2_jax.errors import DataError, UserError
from gpt2_jax.model.gpt2 import GPT2, to_classifier
from gpt2_jax.model.lora import add_adapters
from gpt2_jax.model.pools import POOLS
from gpt2_jax.model.tree import Params
from gpt2_jax.plan.head import keep_head
from gpt2_jax.plan.task import Task
from gpt2_jax.tokenizer import VOCAB_SIZE, Tokenizer, gpt2
from gpt2_jax.weights.pretrained import Pretrained, read_pretrained
from gpt2_jax.weights.random import PREFIX, untrained
from gpt2_jax.workdir.memo import Memo


def prepare(
    config: FinetuneConfig,
    *,
    offline: bool = False,
    classes: Sequence[str] | None = None,
    rows: Any = None,
    memo: Memo | None = None,
) -> Task:
    """Load, split and encode the data; load the weights and replace the head.

    `offline` forbids the network; `classes` is their order in a run to be resumed;
    `rows` are those of the source `memory`; `memo` holds what another run has read.

    Raises:
        UserError: something that the user gave cannot be used; see `errors`.
    """
    memo = memo or Memo()
    read = (config.data.of_all_folds(), tuple(classes or ()))
    load = functools.partial(
        load_dataset, config.data, offline=offline, classes=classes, rows=rows
    )
    # Rows in memory may have changed, and nothing but reading them tells.
    dataset = memo.get("texts", read, load) if rows is None else load()
    positive = positive_class(
        dataset.name, dataset.classes, dataset.labels, config.data.positive
    )
    split = split_dataset(dataset, config.data)
    drawn = config.train.seed if str(config.weights).startswith(PREFIX) else None
    files = (config.weights, config.layout)
    pretrained, tokenizer = memo.get(
        "weights",
        (*files, drawn),
        lambda: load_weights(*files, config.train.seed, offline=offline),
    )
    if len(split.train) < config.train.batch_size:
        raise DataError(
            fill_no_batch(dataset, config.data, split.train, config.train.batch_size)
        )
    used = np.sort(np.concatenate(list(split.parts().values())))
    encoded = memo.get(
        "tokens",
        (read, dataset.sha256, files, used.tobytes()),
        lambda: [tokenizer.encode(dataset.texts[row]) for row in used],
    )
    texts, limit = _lay_out(
        config, dataset, split, used, encoded, tokenizer, pretrained.config.max_len
    )
    nothing, sizes = tokenizer.encode(""), np.asarray([len(ids) for ids in encoded])
    characters = sum(len(dataset.texts[row]) for row in used)
    model, params, head = _replace_head(config, pretrained, dataset.classes)
    # One object: jax knows a method of another one, though equal, for another function.
    model = memo.get("model", model.config, lambda: model)
    num_layers = model.config.num_layers
    try:
        param_labels = label_params(params, config.train.trainable, num_layers)
    except ValueError as error:
        raise UserError(f"--trainable: {error}") from None
    return Task(
        config=config,
        dataset=dataset,
        split=split,
        texts=texts,
        num_tokens=sizes if config.long == "windows" else np.minimum(sizes, limit),
        tokens_per_character=float(sizes.sum()) / max(characters, 1),
        cut=0 if config.long == "windows" else int((sizes > limit).sum()),
        # no text has that id alone
        empty=sum(ids == nothing for ids in encoded),
        model=model,
        params=params,
        tokenizer=tokenizer,
        head=head,
        param_labels=param_labels,
        depth=trunk_depth(param_labels, num_layers),
        positive=positive,
    )


def load_weights(
    weights: str | Path, layout: LayoutConfig, seed: int, *, offline: bool
) -> tuple[Pretrained, Tokenizer]:
    """Read weights, or draw them, and the tokenizer that goes with them.

    Raises:
        UserError: they cannot be had, or there is no tokenizer for their vocabulary.
    """
    if str(weights).startswith(PREFIX):
        if layout != LayoutConfig():
            raise UserError(
                f"{weights}: random weights are told by their size alone; omit "
                "--num-heads, --naming and --tokenizer"
            )
        return Pretrained(*untrained(str(weights), seed)), gpt2()
    found = read_pretrained(weights, offline=offline, **vars(layout))
    if found.tokenizer is None:
        raise UserError(
            f"{weights}: a vocabulary of {found.config.vocab_size} tokens, but "
            f"GPT-2's encoding has {VOCAB_SIZE}, and no tokenizer lies beside the "
            "weights; lay its vocab.json and merges.txt there, or give --tokenizer"
        )
    return found, found.tokenizer


def _limit(config: FinetuneConfig, longest: int, max_len: int) -> int:
    """Return the tokens that a text may have; a training text has up to `longest`.

    The pool that reads the padding needs a width that is known without the test texts:
    `max_length`, or that of the longest training text.
    """
    if config.max_length is not None:
        return min(config.max_length, max_len)
    if POOLS[config.pool].reads_padding:
        return min(longest, max_len)
    return max_len


def _lay_out(
    config: FinetuneConfig,
    dataset: Dataset,
    split: Split,
    used: np.ndarray,
    encoded: list[list[int]],
    tokenizer: Tokenizer,
    max_len: int,
) -> tuple[Texts, int]:
    """Return the pieces of the texts of the rows `used`, and the tokens of one.

    They lie in the order of the rows: another split of these has the same trunk.
    """
    places = {part: np.searchsorted(used, rows) for part, rows in split.parts().items()}
    longest = max(len(encoded[text]) for text in places["train"])
    limit = _limit(config, longest, max_len)
    pieces, owners = all_pieces(encoded, limit, config.long)
    labels = np.asarray(dataset.labels)[used]
    texts = lay_out(
        pieces,
        limit=limit,
        padded=POOLS[config.pool].reads_padding,
        pad_id=tokenizer.end_id,
        labels=labels[owners],
        class_weights=_class_weights(
            config, labels[places["train"]], len(dataset.classes)
        ),
    )
    first = first_pieces(owners)
    of_text = np.split(np.arange(len(owners)), first[1:])
    parts = {
        part: np.concatenate([of_text[text] for text in of_part])
        for part, of_part in places.items()
    }
    # A text counts once in the loss, in however many pieces it is read.
    weights = texts.loss_weights / np.bincount(owners)[owners].astype(np.float32)
    texts = dataclasses.replace(texts, parts=parts, owners=owners, loss_weights=weights)
    return texts, limit


def _class_weights(
    config: FinetuneConfig, train: np.ndarray, num_classes: int
) -> np.ndarray:
    """Return float32 [C], what a text of each class weighs in the loss."""
    counts = np.bincount(train, minlength=num_classes)
    if config.data.balance != "weights":
        return np.ones(num_classes, np.float32)
    return (len(train) / (num_classes * counts)).astype(np.float32)


def _replace_head(
    config: FinetuneConfig, pretrained: Pretrained, classes: Sequence[str]
) -> tuple[GPT2, Params, str | None]:
    """Return the classifier to train, and in words what it keeps of a trained head."""
    key = jax.random.key(config.train.seed)
    lora = "lora" in config.train.trainable
    model, params = to_classifier(
        pretrained.config,
        pretrained.params,
        num_classes=len(classes),
        key=key,
        pool=config.pool,
        causal=config.causal,
        dtype=config.dtype,
        precision=config.precision,
        dropout_rate=config.train.dropout_rate,
        lora_rank=config.train.lora_rank if lora else 0,
        lora_alpha=config.train.lora_alpha,
    )
    params, head = keep_head(pretrained, model.config, params, classes)
    if lora:
        params = add_adapters(params, model.config, jax.random.fold_in(key, 1))
    return model, params, head

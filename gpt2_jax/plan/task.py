"""A run before its first step: data, model, and what of it trains."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from typing import Any

import jax
import numpy as np

from gpt2_jax.config import FinetuneConfig
from gpt2_jax.data import checks
from gpt2_jax.data.sources import Dataset
from gpt2_jax.data.split import Split
from gpt2_jax.engine.texts import Texts
from gpt2_jax.model.gpt2 import GPT2
from gpt2_jax.model.lora import merge_adapters
from gpt2_jax.model.pools import POOLS
from gpt2_jax.model.tree import Params
from gpt2_jax.storage.leaves import hash_leaves
from gpt2_jax.storage.sealed import digest
from gpt2_jax.tokenizer import Tokenizer
from gpt2_jax.weights.trained import TrainedModel
from gpt2_jax.workdir.identity import PRETRAINED, WEIGHTS

# Leaves that no file holds: they are drawn from the seed.
_DRAWN = re.compile(r"^out_head/|/lora_[ab]$")


@dataclasses.dataclass(frozen=True)
class Task:
    """What a run trains, and on what; all arrays are on the host."""

    config: FinetuneConfig
    dataset: Dataset
    split: Split
    texts: Texts  # tokens of train, validation and test
    num_tokens: np.ndarray  # int [N] that are read of each text, without padding
    tokens_per_character: float  # before the cut
    cut: int  # texts of which not all is read
    empty: int  # texts without a token, read as one end of text
    model: GPT2
    params: Params
    tokenizer: Tokenizer
    param_labels: Params  # "train" or "freeze" for each leaf
    depth: int  # of the frozen trunk; see `GPT2.trunk`
    positive: str | None = None  # the class whose precision is told; see `data.labels`
    head: str | None = None  # what it keeps of a trained one; None: there was none

    @property
    def width(self) -> int:
        """Tokens of the longest piece of a text."""
        return self.texts.widths[-1]

    @property
    def max_length(self) -> int:
        """Tokens that are read at once of a text; see `engine.long`."""
        if POOLS[self.config.pool].reads_padding:
            return self.width
        limit = self.model.config.max_len
        return min(limit, self.config.max_length or limit)

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches; the ragged last one is dropped."""
        return len(self.texts.parts["train"]) // self.config.train.batch_size

    @property
    def num_steps(self) -> int:
        """Steps of the whole run."""
        return self.config.train.epochs * self.steps_per_epoch

    def labels(self, part: str) -> np.ndarray:
        """Return the class [N] of each text of a part."""
        return self.texts.labels_of(self.texts.parts[part])

    def texts_of(self, part: str) -> list[str]:
        """Return the texts of a part as they were read."""
        return [self.dataset.texts[row] for row in self.split.parts()[part]]

    def repeated_texts(self) -> list[checks.Repeated]:
        """Return the texts with several labels or in several parts."""
        dataset = self.dataset
        labels = [dataset.classes[label] for label in dataset.labels]
        return checks.repeated_texts(dataset.texts, labels, self.split.parts())

    def identity(self) -> dict[str, Any]:
        """Return what the data and the model are, by name."""
        rows = {
            f"data.rows.{part}": ids_sha256(ids)
            for part, ids in self.split.parts().items()
        }
        own, leaves = self.tokenizer, hash_leaves(self.params)  # before training
        read = {name: leaf for name, leaf in leaves.items() if not _DRAWN.search(name)}
        return {
            "data.sha256": self.dataset.sha256,
            "data.classes": list(self.dataset.classes),
            **rows,
            PRETRAINED: digest(read),
            WEIGHTS: digest(leaves),
            # Runs of earlier versions know GPT-2's alone, and do not name it.
            **({} if own.is_gpt2s else {"weights.tokenizer": own.sha256}),
        }

    def trained_model(self, params: Params, temperature: float) -> TrainedModel:
        """Join what was trained with the frozen trunk; adapters go into their kernels.

        `params` may lack what lies in the trunk.
        """
        whole = jax.tree.map(np.asarray, {**self.params, **params})
        config = self.model.config
        if config.lora_rank:
            whole = merge_adapters(whole, config)
        config = dataclasses.replace(config, dropout_rate=0.0, lora_rank=0)
        return TrainedModel(
            config,
            whole,
            self.dataset.classes,
            self.max_length,
            temperature,
            positive=self.positive,
            tokenizer=self.tokenizer,
            long=self.config.long,
        )


def ids_sha256(rows: np.ndarray) -> str:
    """Return the hash of a set of row numbers, in their order."""
    return hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()

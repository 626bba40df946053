"""A language model goes on before it is fine-tuned: `finetune --adapt`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from gpt2_jax.config import AdaptConfig, DataConfig, FinetuneConfig
from gpt2_jax.config.data import ROWS
from gpt2_jax.config.fields import option_of
from gpt2_jax.config.layout import LayoutConfig
from gpt2_jax.data.sources import load_dataset, load_texts, reads_stdin
from gpt2_jax.data.split import split_dataset
from gpt2_jax.errors import UserError
from gpt2_jax.plan.corpus import distinct_texts
from gpt2_jax.storage.atomic import write_text
from gpt2_jax.storage.bucket import is_url
from gpt2_jax.storage.home import expanded
from gpt2_jax.training.adapt import adapt


def adapt_first(
    config: FinetuneConfig,
    workdir: str | Path,
    texts: str | None = None,
    *,
    verbose: bool = True,
    resume: bool | str = False,
    offline: bool = False,
) -> FinetuneConfig:
    """Adapt the weights of `config`; return the config that goes on from them.

    It is `adapt` with its defaults, in the folder `<workdir>-adapted`. No text is read
    that validates or tests a run of `config`.

    Args:
        workdir: of the run that comes next.
        texts: a file, read as `config.data` is; None: the training texts.

    Raises:
        UserError: as `adapt`; `workdir` is in a bucket, the data are standard input,
            which the run could not read again, or no text is left.
    """
    if is_url(str(workdir)):
        raise UserError(
            f"--workdir {workdir}: adapt writes into folders; do so first, and name "
            "the weights with --weights"
        )
    if reads_stdin(config.data):
        raise UserError(
            "--adapt reads the data before the run does, and standard input can be "
            "read only once: write it to a file, and name that with --data"
        )
    folder = Path(f"{expanded(workdir)}-adapted")
    read = _texts(config.data, texts, offline=offline)
    if not read:
        raise UserError("--adapt: no text that neither validates nor tests is left")
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"text": text}) for text in read]
    write_text(folder / "texts.jsonl", "\n".join(lines) + "\n")
    names = ("weights", "layout", "dtype", "precision")
    how: dict[str, Any] = {name: getattr(config, name) for name in names}
    how |= {n: getattr(config.train, n) for n in ("devices", "deterministic")}
    before = AdaptConfig(data=DataConfig(source=str(folder / "texts.jsonl")), **how)
    adapted = adapt(
        before, folder / "run", verbose=verbose, resume=resume, offline=offline
    )
    # These weights tell their layout themselves.
    own = LayoutConfig()
    return dataclasses.replace(config, weights=str(adapted.weights), layout=own)


def _texts(data: DataConfig, texts: str | None, *, offline: bool) -> list[str]:
    """Return what is read: none of it validates or tests a run on `data`."""
    dataset = load_dataset(data, offline=offline)
    parts = split_dataset(dataset, data).parts()
    held_out = {dataset.texts[row] for p in ("validation", "test") for row in parts[p]}
    if texts is None:
        read = [dataset.texts[row] for row in parts["train"]]
    else:
        fields = dataclasses.fields(data)
        rows = [field.name for field in fields if option_of(field).section == ROWS]
        same: dict[str, Any] = {name: getattr(data, name) for name in rows}
        same["source"] = texts
        table, _ = load_texts(DataConfig(**same), offline=offline)
        read, _ = distinct_texts(texts, table)
    return [text for text in read if text not in held_out]

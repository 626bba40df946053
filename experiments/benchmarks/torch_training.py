"""The training loop of chapter 6 in PyTorch, on the rows that `--preset book` reads."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset
from torch_models import DEVICE

from gpt2_jax.config import FINETUNE_PRESETS
from gpt2_jax.data.sources import load_dataset
from gpt2_jax.data.split import split_dataset
from gpt2_jax.tokenizer import END_OF_TEXT, encode

BATCH, EPOCHS, EVERY, FEW, WIDTH, PAD = 8, 5, 50, 5, 120, END_OF_TEXT
Forward = Callable[[torch.Tensor], torch.Tensor]  # tokens [B, T] -> logits [B, C]


def train(
    model: torch.nn.Module,
    forward: Forward,
    *,
    half: bool = False,
    steps: int | None = None,
) -> dict[str, Any]:
    """Train as chapter 6 does, with its evaluations of a few batches on the way."""
    parts = {
        part: TensorDataset(torch.from_numpy(tokens), torch.from_numpy(labels))
        for part, (tokens, labels) in book_rows().items()
    }
    loader = DataLoader(parts["train"], BATCH, shuffle=True, drop_last=True)
    validation = DataLoader(parts["validation"], BATCH)
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad],
        lr=5e-5,
        weight_decay=0.1,
        fused=True if half and DEVICE == "cuda" else None,
    )

    def logits_of(tokens: torch.Tensor) -> torch.Tensor:
        cast = torch.autocast(DEVICE, torch.bfloat16) if half else no_cast
        with cast:
            return forward(tokens.to(DEVICE))

    no_cast = contextlib.nullcontext()
    step, losses, accuracy = 0, [], []
    for _ in range(EPOCHS):
        model.train()
        for tokens, labels in loader:
            optimizer.zero_grad()
            loss = cross_entropy(logits_of(tokens).float(), labels.to(DEVICE))
            loss.backward()
            optimizer.step()
            if step % EVERY == 0:
                losses.append(
                    [evaluate(model, logits_of, x)[0] for x in (loader, validation)]
                )
            step += 1
            if step == steps:
                return {}
        accuracy = [evaluate(model, logits_of, x)[1] for x in (loader, validation)]
    few = {"losses": losses[-1], "accuracy": accuracy}
    return {"steps": step, "few": few, **device()}


def evaluate(
    model: torch.nn.Module, logits_of: Forward, loader: DataLoader
) -> tuple[float, float]:
    """Return loss and accuracy of the first few batches."""
    model.eval()
    losses, hits, count = [], 0, 0
    with torch.no_grad():
        for index, (tokens, labels) in enumerate(loader):
            if index == FEW:
                break
            logits, labels = logits_of(tokens).float(), labels.to(DEVICE)
            losses.append(cross_entropy(logits, labels).item())
            hits += int((logits.argmax(-1) == labels).sum())
            count += len(labels)
    model.train()
    return float(np.mean(losses)), hits / count


def book_rows() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return tokens [N, 120] and labels [N] of the book's three parts."""
    data = FINETUNE_PRESETS["book"].data
    dataset = load_dataset(data)
    parts = {}
    for part, rows in split_dataset(dataset, data).parts().items():
        tokens = np.full((len(rows), WIDTH), PAD)
        for line, row in zip(tokens, rows, strict=True):
            ids = encode(dataset.texts[row])[:WIDTH]
            line[: len(ids)] = ids
        parts[part] = tokens, np.asarray(dataset.labels)[rows]
    return parts


def device() -> dict[str, Any]:
    """Return the name of torch's device, and the memory that it needed, if a GPU."""
    if DEVICE == "cpu":
        return {"device": "cpu", "device_peak_bytes": None}
    return {
        "device": torch.cuda.get_device_name(),
        "device_peak_bytes": torch.cuda.max_memory_allocated(),
    }

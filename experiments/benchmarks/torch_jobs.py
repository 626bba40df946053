"""The peers' jobs of `jobs.py`, on a GPU where torch sees one: llms-from-scratch and
transformers.

Where a peer is compiled, its compilation is not timed.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import functools
import importlib.resources
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import transformers
from jobs import Run, messages
from llms_from_scratch.ch04 import GPTModel
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset
from transformers.convert_slow_tokenizer import TikTokenConverter

from gpt2_jax import tokenizer as ours
from gpt2_jax.config import FINETUNE_PRESETS
from gpt2_jax.data.sources import load_dataset
from gpt2_jax.data.split import split_dataset
from gpt2_jax.weights.convert import to_state_dict
from gpt2_jax.weights.pretrained import load_pretrained
from gpt2_jax.weights.rules import HUGGING_FACE, LLMS_FROM_SCRATCH

BATCH, EPOCHS, EVERY, FEW, WIDTH, PAD = 8, 5, 50, 5, 120, ours.END_OF_TEXT
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
Forward = Callable[[torch.Tensor], torch.Tensor]  # tokens [B, T] -> logits [B, C]


def chapter_6(arguments: argparse.Namespace, *, everything: bool = False) -> Run:
    """The loop of chapter 6 on llms_from_scratch's GPTModel, in float32."""

    def run() -> dict[str, Any]:
        torch.manual_seed(123)
        config, params = load_pretrained(arguments.weights)
        model = GPTModel(
            {
                "vocab_size": config.vocab_size,
                "context_length": config.max_len,
                "emb_dim": config.embed_dim,
                "n_heads": config.num_heads,
                "n_layers": config.num_layers,
                "drop_rate": 0.0,
                "qkv_bias": True,
            }
        )
        state = to_state_dict(params, LLMS_FROM_SCRATCH)
        tensors = {key: torch.from_numpy(value) for key, value in state.items()}
        missing, extra = model.load_state_dict(tensors, strict=False)
        assert not extra, extra
        assert all(key.endswith(".mask") or key == "out_head.weight" for key in missing)
        model.out_head = torch.nn.Linear(config.embed_dim, 2)
        top = (model.trf_blocks[-1], model.final_norm, model.out_head)
        _freeze(model, () if everything else top)
        model.to(DEVICE)
        return train(model, lambda tokens: model(tokens)[:, -1, :])

    return run


def transformers_eager(arguments: argparse.Namespace) -> Run:
    """The same training of transformers' GPT2ForSequenceClassification, in float32."""

    def run() -> dict[str, Any]:
        torch.manual_seed(123)
        model = _to_train(arguments.weights, "eager", everything=False)
        return train(model, _classify(model))

    return run


def transformers_compiled(
    arguments: argparse.Namespace, *, everything: bool = False
) -> Run:
    """The same with bfloat16 autocast, SDPA, torch.compile and fused AdamW."""
    torch.manual_seed(123)
    torch.set_float32_matmul_precision("high")
    model = _to_train(arguments.weights, "sdpa", everything=everything)
    start = copy.deepcopy(model.state_dict())
    forward = torch.compile(_classify(model))
    train(model, forward, half=True, steps=2)  # compiles
    model.load_state_dict(start)
    return lambda: train(model, forward, half=True)


def pipeline(arguments: argparse.Namespace) -> Run:
    """transformers' text-classification pipeline on every message, batches of 64."""
    texts, words = messages(), hugging_face_tokenizer()
    model = hugging_face_model(arguments.weights, "eager").eval()

    def run() -> dict[str, Any]:
        classify = transformers.pipeline(
            "text-classification", model=model, tokenizer=words, device=DEVICE
        )
        answers = classify(texts, batch_size=64, truncation=True)
        return {"texts": len(answers), **device()}

    return run


def sorted_batches(arguments: argparse.Namespace) -> Run:
    """transformers in bfloat16, the texts sorted by length, in batches of 256."""
    texts, words = messages(), hugging_face_tokenizer()
    model = hugging_face_model(arguments.weights, "sdpa").eval()
    model.to(DEVICE, torch.bfloat16)

    @torch.inference_mode()
    def run() -> dict[str, Any]:
        encoded = words(texts, truncation=True)["input_ids"]
        order = sorted(range(len(texts)), key=lambda i: -len(encoded[i]))
        probs = torch.empty(len(texts), 2)
        for start in range(0, len(order), 256):
            rows = order[start : start + 256]
            batch = words.pad({"input_ids": [encoded[i] for i in rows]})
            batch = {
                name: torch.tensor(value, device=DEVICE)
                for name, value in batch.items()
            }
            probs[rows] = model(**batch).logits.float().softmax(-1).cpu()
        return {"texts": len(probs), **device()}

    return run


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
    fused = {"fused": True} if half and DEVICE == "cuda" else {}
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad],
        lr=5e-5,
        weight_decay=0.1,
        **fused,
    )

    def logits_of(tokens: torch.Tensor) -> torch.Tensor:
        cast = torch.autocast(DEVICE, torch.bfloat16) if half else no_cast
        with cast:
            return forward(tokens.to(DEVICE))

    def evaluate(loader: DataLoader) -> tuple[float, float]:
        model.eval()
        losses, hits, count = [], 0, 0
        with torch.no_grad():
            for index, (tokens, labels) in enumerate(loader):
                if index == FEW:
                    break
                logits, labels = logits_of(tokens).float(), labels.to(DEVICE)
                losses.append(cross_entropy(logits, labels).item())
                hits += (logits.argmax(-1) == labels).sum().item()
                count += len(labels)
        model.train()
        return float(np.mean(losses)), hits / count

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
                losses.append([evaluate(x)[0] for x in (loader, validation)])
            step += 1
            if step == steps:
                return {}
        accuracy = [evaluate(x)[1] for x in (loader, validation)]
    few = {"losses": losses[-1], "accuracy": accuracy}
    return {"steps": step, "few": few, **device()}


def book_rows() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return tokens [N, 120] and labels [N] of the book's three parts."""
    data = FINETUNE_PRESETS["book"].data
    dataset = load_dataset(data)
    parts = {}
    for part, rows in split_dataset(dataset, data).parts().items():
        tokens = np.full((len(rows), WIDTH), PAD)
        for line, row in zip(tokens, rows, strict=True):
            ids = ours.encode(dataset.texts[row])[:WIDTH]
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


def hugging_face_model(
    weights: str, attention: str
) -> transformers.GPT2ForSequenceClassification:
    config, params = load_pretrained(weights)
    model = transformers.GPT2ForSequenceClassification(
        transformers.GPT2Config(
            n_embd=config.embed_dim,
            n_layer=config.num_layers,
            n_head=config.num_heads,
            num_labels=2,
            pad_token_id=PAD,
            attn_implementation=attention,
        )
    )
    state = to_state_dict(params, HUGGING_FACE, prefix="transformer.")
    tensors = {key: torch.from_numpy(value) for key, value in state.items()}
    missing, extra = model.load_state_dict(tensors, strict=False)
    assert not extra and set(missing) == {"score.weight"}, (missing, extra)
    return model


def hugging_face_tokenizer() -> transformers.PreTrainedTokenizerFast:
    """Return GPT-2's fast tokenizer, made of the ranks that we ship."""
    asset = importlib.resources.files("gpt2_jax") / "assets" / "gpt2.tiktoken"
    converter = TikTokenConverter(str(asset), pattern=ours._PATTERN)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=converter.converted(),
        pad_token=ours.END_OF_TEXT_NAME,
        model_max_length=1024,
        padding_side="right",
    )


def _to_train(
    weights: str, attention: str, *, everything: bool
) -> transformers.GPT2ForSequenceClassification:
    model = hugging_face_model(weights, attention)
    top = (model.transformer.h[-1], model.transformer.ln_f, model.score)
    _freeze(model, () if everything else top)
    return model.to(DEVICE)


def _freeze(model: torch.nn.Module, but: tuple[torch.nn.Module, ...]) -> None:
    """Train only what `but` holds; all of the model, where it is empty."""
    for parameter in model.parameters():
        parameter.requires_grad = not but
    for module in but:
        for parameter in module.parameters():
            parameter.requires_grad = True


def _classify(model: transformers.GPT2ForSequenceClassification) -> Forward:
    def forward(tokens: torch.Tensor) -> torch.Tensor:
        mask = (tokens != PAD).long()
        return model(input_ids=tokens, attention_mask=mask).logits

    return forward


JOBS: dict[str, Callable[[argparse.Namespace], Run]] = {
    "chapter-6": chapter_6,
    "chapter-6-all": functools.partial(chapter_6, everything=True),
    "transformers": transformers_eager,
    "transformers-compiled": transformers_compiled,
    "transformers-compiled-all": functools.partial(
        transformers_compiled, everything=True
    ),
    "pipeline": pipeline,
    "sorted": sorted_batches,
}

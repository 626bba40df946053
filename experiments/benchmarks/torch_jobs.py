"""One of the peers' jobs, as `jobs.py` runs ours: llms-from-scratch and transformers.

    python experiments/benchmarks/torch_jobs.py NAME --weights mini --folder DIR

On a GPU where torch sees one. Where a peer is compiled, its compilation is not timed.
"""

from __future__ import annotations

import argparse
import copy
import functools
from collections.abc import Mapping
from typing import Any

import torch
import transformers
from job import Job, Run, main, messages
from torch_models import (
    DEVICE,
    chapter_6_model,
    hugging_face_model,
    hugging_face_model_to_train,
    hugging_face_tokenizer,
)
from torch_training import PAD, Forward, device, train


def chapter_6(arguments: argparse.Namespace, *, everything: bool = False) -> Run:
    """The loop of chapter 6 on llms_from_scratch's GPTModel, in float32."""

    def run() -> dict[str, Any]:
        torch.manual_seed(123)
        model = chapter_6_model(arguments.weights, everything=everything)
        return train(model, lambda tokens: model(tokens)[:, -1, :])

    return run


def transformers_eager(arguments: argparse.Namespace) -> Run:
    """The same training of transformers' GPT2ForSequenceClassification, in float32."""

    def run() -> dict[str, Any]:
        torch.manual_seed(123)
        model = hugging_face_model_to_train(
            arguments.weights, "eager", everything=False
        )
        return train(model, _classify(model))

    return run


def transformers_compiled(
    arguments: argparse.Namespace, *, everything: bool = False
) -> Run:
    """The same with bfloat16 autocast, SDPA, torch.compile and fused AdamW."""
    torch.manual_seed(123)
    torch.set_float32_matmul_precision("high")
    model = hugging_face_model_to_train(
        arguments.weights, "sdpa", everything=everything
    )
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
    model = hugging_face_model(arguments.weights, "sdpa").eval().bfloat16()

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


def _classify(model: transformers.GPT2ForSequenceClassification) -> Forward:
    def forward(tokens: torch.Tensor) -> torch.Tensor:
        mask = (tokens != PAD).long()
        return model(input_ids=tokens, attention_mask=mask).logits

    return forward


JOBS: Mapping[str, Job] = {
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

if __name__ == "__main__":
    main(JOBS, __doc__)

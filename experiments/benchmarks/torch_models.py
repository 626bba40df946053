"""The peers' models and tokenizer, made of our weights and our vocabulary."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import transformers
from llms_from_scratch.ch04 import GPTModel

from gpt2_jax import load_pretrained
from gpt2_jax.export.tokenizer_files import write_tokenizer
from gpt2_jax.tokenizer import END_OF_TEXT, END_OF_TEXT_NAME
from gpt2_jax.weights.convert import to_state_dict
from gpt2_jax.weights.rules import HUGGING_FACE, LLMS_FROM_SCRATCH

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def chapter_6_model(weights: str, *, everything: bool) -> GPTModel:
    """Return llms_from_scratch's GPTModel as chapter 6 trains it, or all of it."""
    config, params = load_pretrained(weights)
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
    tensors = _tensors(to_state_dict(params, LLMS_FROM_SCRATCH))
    missing, extra = model.load_state_dict(tensors, strict=False)
    assert not extra, extra
    assert all(key.endswith(".mask") or key == "out_head.weight" for key in missing)
    model.out_head = torch.nn.Linear(config.embed_dim, 2)
    top = (model.trf_blocks[-1], model.final_norm, model.out_head)
    _freeze(model, () if everything else top)
    return model.to(DEVICE)


def hugging_face_model(
    weights: str, attention: str
) -> transformers.GPT2ForSequenceClassification:
    """Return transformers' model with a random head of two classes."""
    config, params = load_pretrained(weights)
    with torch.device(DEVICE):
        model = transformers.GPT2ForSequenceClassification(
            transformers.GPT2Config.from_dict(
                {
                    "n_embd": config.embed_dim,
                    "n_layer": config.num_layers,
                    "n_head": config.num_heads,
                    "num_labels": 2,
                    "pad_token_id": END_OF_TEXT,
                    "attn_implementation": attention,
                }
            )
        )
    tensors = _tensors(to_state_dict(params, HUGGING_FACE, prefix="transformer."))
    missing, extra = model.load_state_dict(tensors, strict=False)
    assert not extra and set(missing) == {"score.weight"}, (missing, extra)
    return model


def hugging_face_model_to_train(
    weights: str, attention: str, *, everything: bool
) -> transformers.GPT2ForSequenceClassification:
    """Return it with what chapter 6 trains, or all of it, to be trained."""
    model = hugging_face_model(weights, attention)
    top = (model.transformer.h[-1], model.transformer.ln_f, model.score)
    _freeze(model, () if everything else top)
    return model


def hugging_face_tokenizer() -> transformers.PreTrainedTokenizerFast:
    """Return GPT-2's fast tokenizer, of the vocabulary that we ship."""
    with tempfile.TemporaryDirectory() as folder:
        write_tokenizer(Path(folder), 1024, classifier=True)
        return transformers.PreTrainedTokenizerFast(
            tokenizer_file=str(Path(folder) / "tokenizer.json"),
            pad_token=END_OF_TEXT_NAME,
            model_max_length=1024,
            padding_side="right",
        )


def _tensors(state: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(value) for key, value in state.items()}


def _freeze(model: torch.nn.Module, but: tuple[torch.nn.Module, ...]) -> None:
    """Train only what `but` holds; all of the model, where it is empty."""
    for parameter in model.parameters():
        parameter.requires_grad = not but
    for module in but:
        for parameter in module.parameters():
            parameter.requires_grad = True

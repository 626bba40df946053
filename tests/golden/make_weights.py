"""Write the small weight files of every format that torch writes.

    python tests/golden/make_weights.py

needs torch, transformers and llms-from-scratch (made with 2.13.0, 5.24.0 and 1.0.19).
Each torch file has a safetensors twin, written by the library from the same tensors.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from llms_from_scratch.ch04 import GPTModel
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2ForSequenceClassification, GPT2LMHeadModel

FOLDER = Path(__file__).parent / "weights"
SIZES: dict[str, Any] = {
    "vocab_size": 23,
    "n_positions": 11,
    "n_embd": 8,
    "n_layer": 2,
    "n_head": 2,
}
BOOK = {
    "vocab_size": 23,
    "context_length": 11,
    "emb_dim": 8,
    "n_heads": 2,
    "n_layers": 2,
    "drop_rate": 0.0,
    "qkv_bias": True,
}
SETTINGS: list[dict[str, Any]] = [
    {},
    *({"activation_function": n} for n in ("gelu", "gelu_pytorch_tanh", "relu")),
    {"layer_norm_epsilon": 0.01},
    {"scale_attn_weights": False},
    {"scale_attn_by_inverse_layer_idx": True},
    {"scale_attn_weights": False, "scale_attn_by_inverse_layer_idx": True},
    {"reorder_and_upcast_attn": True},
]
TOKENS = torch.arange(12).reshape(2, 6)

Model = TypeVar("Model", bound=torch.nn.Module)


def randomize(model: Model) -> Model:
    """Give every parameter values that a mix-up would show: no zeros, no ones."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter) + 0.1)
    return model.eval()


def save_twin(state: dict[str, torch.Tensor], path: Path) -> None:
    save_file({name: value.clone().contiguous() for name, value in state.items()}, path)


def hugging_face() -> None:
    """Write pytorch_model.bin, whole and in two shards, and model.safetensors."""
    model = randomize(GPT2LMHeadModel(GPT2Config(**SIZES)))
    model.save_pretrained(FOLDER / "hf_safetensors")
    state = model.state_dict()  # with the prefix and the tied lm_head
    names = [name for name in state if name != "lm_head.weight"]
    halves = {
        "pytorch_model-00001-of-00002.bin": names[:9],
        "pytorch_model-00002-of-00002.bin": names[9:],
    }
    for name in ("hf_bin", "hf_bin_sharded"):
        (FOLDER / name).mkdir()
        shutil.copy(FOLDER / "hf_safetensors" / "config.json", FOLDER / name)
    (FOLDER / "hf_safetensors" / "generation_config.json").unlink()
    torch.save(state, FOLDER / "hf_bin" / "pytorch_model.bin")
    for shard, its in halves.items():
        part = {name: state[name] for name in its}
        torch.save(part, FOLDER / "hf_bin_sharded" / shard)
    index = {
        "metadata": {"total_size": sum(state[n].nbytes for n in names)},
        "weight_map": {name: shard for shard, its in halves.items() for name in its},
    }
    path = FOLDER / "hf_bin_sharded" / "pytorch_model.bin.index.json"
    path.write_text(json.dumps(index, indent=1))
    nanogpt(state)


def nanogpt(state: dict[str, torch.Tensor]) -> None:
    """Write a checkpoint as nanoGPT's train.py does, of the same model."""
    linear = {
        name: value.T.contiguous() if ".c_" in name and value.ndim == 2 else value
        for name, value in state.items()
    }
    linear["lm_head.weight"] = linear["transformer.wte.weight"]
    parameters = [torch.nn.Parameter(value.clone()) for value in linear.values()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    checkpoint = {
        "model": linear,
        "optimizer": optimizer.state_dict(),
        "model_args": {
            "n_layer": 2,
            "n_head": 2,
            "n_embd": 8,
            "block_size": 11,
            "bias": True,
            "vocab_size": 23,
            "dropout": 0.0,
        },
        "iter_num": 5,
        "best_val_loss": torch.tensor(1e9),
        "config": {"out_dir": "out", "learning_rate": 6e-4, "compile": True},
    }
    torch.save(checkpoint, FOLDER / "nanogpt.pt")
    compiled = {f"_orig_mod.{name}": value for name, value in linear.items()}
    torch.save(checkpoint | {"model": compiled}, FOLDER / "nanogpt_compiled.pt")
    save_twin(linear, FOLDER / "nanogpt.safetensors")
    bare = {n: v for n, v in linear.items() if not n.endswith(".bias")}
    torch.save(bare, FOLDER / "nanogpt_no_bias.pt")


def settings() -> None:
    """Write one model, and its logits under every setting that changes them."""
    model = randomize(GPT2LMHeadModel(GPT2Config(**SIZES, n_inner=12)))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)  # activations and scores differ more
    model.save_pretrained(FOLDER / "hf_settings")
    (FOLDER / "hf_settings" / "generation_config.json").unlink()
    logits = {}
    for change in SETTINGS:
        other = GPT2LMHeadModel(GPT2Config(**SIZES, n_inner=12, **change)).eval()
        other.load_state_dict(model.state_dict())
        with torch.no_grad():
            logits[json.dumps(change)] = other(TOKENS).logits.numpy()
    np.savez(FOLDER / "hf_settings" / "logits.npz", **logits)


def hugging_face_classifier() -> None:
    config = GPT2Config(
        **SIZES,
        pad_token_id=22,
        id2label={0: "bad", 1: "good", 2: "odd"},
        label2id={"bad": 0, "good": 1, "odd": 2},
    )
    model = randomize(GPT2ForSequenceClassification(config))
    folder = FOLDER / "hf_classifier"
    model.save_pretrained(folder)
    (FOLDER / "hf_classifier_bin").mkdir()
    shutil.copy(folder / "config.json", FOLDER / "hf_classifier_bin")
    torch.save(model.state_dict(), FOLDER / "hf_classifier_bin" / "pytorch_model.bin")
    with torch.no_grad():
        np.save(FOLDER / "hf_classifier_logits.npy", model(TOKENS).logits.numpy())


def book() -> None:
    """Write a language model of the book, and a classifier as its chapter 6 does."""
    model = randomize(GPTModel(BOOK))
    torch.save(model.state_dict(), FOLDER / "book.pth")
    save_twin(model.state_dict(), FOLDER / "book.safetensors")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    whole = {
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
    }
    torch.save(whole, FOLDER / "book_model_and_optimizer.pth")
    model.out_head = torch.nn.Linear(8, 2)
    randomize(model)
    torch.save(model.state_dict(), FOLDER / "review_classifier.pth")
    save_twin(model.state_dict(), FOLDER / "review_classifier.safetensors")
    with torch.no_grad():
        logits = model(TOKENS)[:, -1, :].numpy()
    np.save(FOLDER / "review_classifier_logits.npy", logits)


def tensors() -> None:
    """Write tensors of every type and layout that a state dict can have."""
    whole = torch.arange(24, dtype=torch.float32).reshape(4, 6) + 1
    state = {
        "whole": whole,
        "transposed": whole.T,
        "row": whole[2],
        "column": whole[:, 3],
        "corner": whole[1:3, 2:5],
        "every_other": whole[::2, ::3],
        "scalar": torch.tensor(2.5),
        "parameter": torch.nn.Parameter(torch.ones(3)),
        "half": torch.tensor([1.5, -2.0], dtype=torch.float16),
        "bfloat16": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        "double": torch.tensor([1.1, -2.0], dtype=torch.float64),
        "long": torch.tensor([1, -(2**40)]),
        "int": torch.tensor([1, -2], dtype=torch.int32),
        "short": torch.tensor([1, -2], dtype=torch.int16),
        "char": torch.tensor([1, -2], dtype=torch.int8),
        "byte": torch.tensor([1, 200], dtype=torch.uint8),
        "bool": torch.tensor([True, False]),
    }
    torch.save(state, FOLDER / "tensors.pth")
    torch.save(state, FOLDER / "tensors_protocol_4.pth", pickle_protocol=4)
    torch.save(
        state, FOLDER / "tensors_legacy.pth", _use_new_zipfile_serialization=False
    )
    save_twin(state, FOLDER / "tensors.safetensors")


if __name__ == "__main__":
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    torch.manual_seed(7)
    hugging_face()
    hugging_face_classifier()
    book()
    tensors()
    settings()

"""Write the fixtures that hold us to PyTorch.

    python tests/golden/make_golden.py

needs torch, transformers and llms-from-scratch (made with 2.13.0, 5.23.0 and 1.0.19).
Everything is drawn from fixed seeds; no text of any corpus is stored.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from llms_from_scratch.ch04 import GPTModel
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

FOLDER = Path(__file__).parent
MINI = FOLDER.parents[1] / "gpt2_jax" / "assets" / "gpt2-mini" / "model.safetensors"
PAD, WIDTH, STEPS, BATCH = 50256, 120, 40, 8

BOOK_ODD = {
    "vocab_size": 97,
    "context_length": 29,
    "emb_dim": 21,
    "n_heads": 3,
    "n_layers": 2,
    "drop_rate": 0.0,
    "qkv_bias": True,
}
BOOK_MINI = {
    "vocab_size": 50257,
    "context_length": 1024,
    "emb_dim": 256,
    "n_heads": 4,
    "n_layers": 12,
    "drop_rate": 0.0,
    "qkv_bias": True,
}


def randomize(model: torch.nn.Module) -> None:
    """Give every parameter values that a mix-up would show: no zeros, no ones."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter) + 0.1)


def hugging_face_odd() -> None:
    torch.manual_seed(1)
    config = GPT2Config(vocab_size=101, n_positions=37, n_embd=30, n_layer=3, n_head=3)
    model = GPT2LMHeadModel(config).eval()
    randomize(model)
    model.save_pretrained(FOLDER / "hf_odd")
    model.save_pretrained(FOLDER / "hf_odd_sharded", max_shard_size="60KB")
    for folder in ("hf_odd", "hf_odd_sharded"):
        (FOLDER / folder / "generation_config.json").unlink()
    tokens = torch.randint(0, 101, (3, 11))
    with torch.no_grad():
        logits = model(tokens).logits
    np.savez_compressed(
        FOLDER / "hf_odd.npz", tokens=tokens.numpy(), logits=logits.numpy()
    )


def llms_from_scratch_odd() -> None:
    torch.manual_seed(2)
    model = GPTModel(BOOK_ODD).eval()
    randomize(model)
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, FOLDER / "llms_from_scratch_odd.safetensors")
    tokens = torch.randint(0, 97, (3, 11))
    with torch.no_grad():
        logits = model(tokens)
    np.savez_compressed(
        FOLDER / "llms_from_scratch_odd.npz",
        tokens=tokens.numpy(),
        logits=logits.numpy(),
        config=json.dumps(BOOK_ODD),
    )


def book_classifier() -> GPTModel:
    """Return the book's model with mini's weights and a new head of two logits."""
    state = {n: v.float() for n, v in load_file(MINI).items()}
    model: Any = GPTModel(BOOK_MINI)  # torch types a submodule as Tensor | Module
    with torch.no_grad():
        model.tok_emb.weight.copy_(state["wte.weight"])
        model.pos_emb.weight.copy_(state["wpe.weight"])
        for i, block in enumerate(model.trf_blocks):
            h = f"h.{i}"
            qkv = zip(
                state[f"{h}.attn.c_attn.weight"].chunk(3, dim=-1),
                state[f"{h}.attn.c_attn.bias"].chunk(3),
                (block.att.W_query, block.att.W_key, block.att.W_value),
                strict=True,
            )
            for weight, bias, layer in qkv:
                layer.weight.copy_(weight.T)
                layer.bias.copy_(bias)
            for name, layer in (
                ("attn.c_proj", block.att.out_proj),
                ("mlp.c_fc", block.ff.layers[0]),
                ("mlp.c_proj", block.ff.layers[2]),
            ):
                layer.weight.copy_(state[f"{h}.{name}.weight"].T)
                layer.bias.copy_(state[f"{h}.{name}.bias"])
            for name, norm in (("ln_1", block.norm1), ("ln_2", block.norm2)):
                norm.scale.copy_(state[f"{h}.{name}.weight"])
                norm.shift.copy_(state[f"{h}.{name}.bias"])
        model.final_norm.scale.copy_(state["ln_f.weight"])
        model.final_norm.shift.copy_(state["ln_f.bias"])
    for parameter in model.parameters():
        parameter.requires_grad = False
    model.out_head = torch.nn.Linear(256, 2)
    for module in (model.trf_blocks[-1], model.final_norm):
        for parameter in module.parameters():
            parameter.requires_grad = True
    return model


def made_up_batches() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return tokens [S, B, T], lengths [S, B], labels [S, B] that can be learnt."""
    random = np.random.default_rng(3)
    labels = random.integers(0, 2, (STEPS, BATCH))
    lengths = random.integers(5, 60, (STEPS, BATCH))
    tokens = np.full((STEPS, BATCH, WIDTH), PAD, np.int32)
    # Zipf-like ids, from another stretch of the vocabulary for each class.
    ids = np.minimum(random.zipf(1.3, tokens.shape), 2000) + 2000 * labels[..., None]
    real = np.arange(WIDTH) < lengths[..., None]
    tokens[real] = ids[real]
    return tokens, lengths.astype(np.int32), labels.astype(np.int32)


def train_as_the_book(
    model: GPTModel, tokens: np.ndarray, labels: np.ndarray
) -> list[float]:
    """Return the loss of each step: AdamW 5e-5, decay 0.1, logits[:, -1, :]."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5, weight_decay=0.1)
    losses = []
    for batch, target in zip(tokens, labels, strict=True):
        optimizer.zero_grad()
        logits = model(torch.from_numpy(batch).long())[:, -1, :]
        loss = torch.nn.functional.cross_entropy(
            logits, torch.from_numpy(target).long()
        )
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def book_40_steps() -> None:
    torch.manual_seed(4)
    model = book_classifier()
    head: dict[str, Any] = {
        "head_kernel": model.out_head.weight.detach().numpy().T.copy(),
        "head_bias": model.out_head.bias.detach().numpy().copy(),
    }
    tokens, lengths, labels = made_up_batches()
    losses = train_as_the_book(model, tokens, labels)
    np.savez_compressed(
        FOLDER / "book_40_steps.npz",
        tokens=tokens.astype(np.uint16),
        lengths=lengths,
        labels=labels,
        losses=np.asarray(losses, np.float32),
        final_head_kernel=model.out_head.weight.detach().numpy().T,
        final_norm_scale=model.final_norm.scale.detach().numpy(),
        **head,
    )


if __name__ == "__main__":
    hugging_face_odd()
    llms_from_scratch_odd()
    book_40_steps()

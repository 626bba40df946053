"""What the package of LLMs-from-scratch saves, and what its chapters do."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch

from experiments.layouts.spec import layout, logits, shaken

SCRATCH = "llms-from-scratch"
BOOK: dict[str, Any] = {
    "vocab_size": 61,
    "context_length": 24,
    "emb_dim": 12,
    "n_heads": 2,
    "n_layers": 3,
    "drop_rate": 0.0,
    "qkv_bias": True,
}


def book(*, fast: bool = False, bias: bool = True) -> Any:
    from llms_from_scratch import ch04

    cls = ch04.GPTModelFast if fast else ch04.GPTModel
    return shaken(cls(BOOK | {"qkv_bias": bias}))


def _book(folder: Path, *, fast: bool, bias: bool) -> Any:
    model = book(fast=fast, bias=bias)
    torch.save(model.state_dict(), folder / "x.pth")
    return logits(model)


for _fast in (False, True):
    for _bias in (False, True):
        _name = f"GPTModel{'Fast' if _fast else ''}, qkv_bias={_bias}"
        layout(_name, SCRATCH, path="x.pth", num_heads=2)(
            functools.partial(_book, fast=_fast, bias=_bias)
        )


@layout("chapter 5's checkpoint", SCRATCH, path="x.pth", num_heads=2)
def _chapter_5(folder: Path) -> Any:
    model = book()
    optimizer = torch.optim.AdamW(model.parameters())
    saved = {"model_state_dict": model.state_dict()}
    saved["optimizer_state_dict"] = optimizer.state_dict()
    torch.save(saved, folder / "x.pth")
    return logits(model)


@layout("a compiled GPTModel", SCRATCH, path="x.pth", num_heads=2)
def _compiled(folder: Path) -> Any:
    model = book()
    compiled: Any = torch.compile(model)
    torch.save(compiled.state_dict(), folder / "x.pth")
    return logits(model)


def _classifier(folder: Path, *, fast: bool, lora: bool) -> Any:
    model = book(fast=fast)
    model.out_head = torch.nn.Linear(12, 3)
    if lora:
        from llms_from_scratch.appendix_e import replace_linear_with_lora

        replace_linear_with_lora(model, rank=4, alpha=16)
    shaken(model)
    torch.save(model.state_dict(), folder / "x.pth")
    return logits(model)[:, -1]


for _fast in (False, True):
    for _lora in (False, True):
        _name = f"chapter 6's classifier{', Fast' * _fast}{', LoRA' * _lora}"
        layout(_name, SCRATCH, path="x.pth", num_heads=2)(
            functools.partial(_classifier, fast=_fast, lora=_lora)
        )


@layout("GPTModel with a KV cache", SCRATCH, path="x.pth", num_heads=2)
def _cached(folder: Path) -> Any:
    from llms_from_scratch.kv_cache.gpt2 import GPTModel

    model = shaken(GPTModel(BOOK))
    torch.save(model.state_dict(), folder / "x.pth")
    return logits(model)


@layout("the book's Llama 3", SCRATCH, path="x.pth", refused="pos_emb.*another model")
def _book_llama(folder: Path) -> None:
    from llms_from_scratch.llama3 import Llama3Model

    config = {"vocab_size": 61, "context_length": 24, "emb_dim": 12, "n_heads": 2}
    config |= {"n_layers": 2, "hidden_dim": 24, "n_kv_groups": 1, "rope_base": 1e4}
    config |= {"dtype": torch.float32, "rope_freq": None, "orig_context_length": 24}
    torch.save(Llama3Model(config).state_dict(), folder / "x.pth")

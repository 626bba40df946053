"""Files of torch: where in them Hugging Face's model lies, and what lies beside it."""

from __future__ import annotations

import argparse
import collections
import datetime
import functools
import sys
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch

from experiments.layouts import hugging_face
from experiments.layouts.spec import layout, logits

TORCH = "torch"


class Config:
    """A class of the script that saved: pickle names it `__main__.Config`."""

    def __init__(self, **named: Any) -> None:
        self.__dict__.update(named)


def _beside() -> dict[str, Any]:
    Config.__module__ = "__main__"
    sys.modules["__main__"].Config = Config  # pyright: ignore[reportAttributeAccessIssue]
    return {
        "epoch": 3,
        "loss": np.float64(0.5),
        "history": np.arange(3),
        "args": argparse.Namespace(out=PurePosixPath("x"), lr=1e-3),
        "config": Config(n_head=2),
        "dtype": torch.float32,
        "device": torch.device("cpu"),
        "when": datetime.datetime(2020, 1, 1),
        "counts": collections.defaultdict(list, a=[1]),
        "rng": torch.get_rng_state(),
    }


def _held(folder: Path, key: str | None, prefix: str, name: str = "x.pt") -> Any:
    model = hugging_face.model()
    state = {prefix + n: value for n, value in model.state_dict().items()}
    torch.save(state if key is None else {key: state, **_beside()}, folder / name)
    return logits(model)


for _suffix in ("pth", "pt", "bin", "ckpt"):
    layout(f"bare state dict, .{_suffix}", TORCH, path=f"x.{_suffix}", num_heads=2)(
        functools.partial(_held, key=None, prefix="", name=f"x.{_suffix}")
    )
for _key in ("state_dict", "model", "model_state_dict", "net", "weights", "ema", "x"):
    layout(f"key {_key!r}, objects beside", TORCH, path="x.pt", num_heads=2)(
        functools.partial(_held, key=_key, prefix="")
    )
for _prefix in (
    *("module.", "model.", "net.", "_orig_mod.", "module._orig_mod.", "encoder.gpt."),
    "base_model.model.",
):
    layout(f"prefix {_prefix!r}", TORCH, path="x.pt", num_heads=2)(
        functools.partial(_held, key="state_dict", prefix=_prefix)
    )


@layout("a checkpoint of Lightning", TORCH, path="last.ckpt", num_heads=2)
def _lightning(folder: Path) -> Any:
    model = hugging_face.model()
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.tensor([[1, 2]])).logits.sum().backward()
    optimizer.step()
    saved = {
        "epoch": 1,
        "global_step": 10,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": {f"model.{n}": v for n, v in model.state_dict().items()},
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {"lr": 0.1},
    }
    torch.save(saved, folder / "last.ckpt")
    return logits(model)


@layout("trl's model with a value head", TORCH, path="x.bin", num_heads=2)
def _trl(folder: Path) -> Any:
    model = hugging_face.model()
    state = {f"pretrained_model.{n}": v for n, v in model.state_dict().items()}
    state |= {"v_head.summary.weight": torch.ones(1, 12)}
    state |= {"v_head.summary.bias": torch.ones(1)}
    torch.save(state, folder / "x.bin")
    return logits(model)


@layout("two models in one file", TORCH, path="x.pt", refused="holds 2 models")
def _two(folder: Path) -> None:
    state = hugging_face.model().state_dict()
    both = {
        f"{which}.{n}": v for which in ("actor", "critic") for n, v in state.items()
    }
    torch.save(both, folder / "x.pt")


@layout("a whole model, pickled", TORCH, path="x.pt", refused="object of .*state_dict")
def _whole(folder: Path) -> None:
    torch.save(hugging_face.model(), folder / "x.pt")


@layout(
    "a whole model under a key", TORCH, path="x.pt", refused="object of .*state_dict"
)
def _whole_inside(folder: Path) -> None:
    torch.save({"model": hugging_face.model(), "epoch": 1}, folder / "x.pt")


@layout("TorchScript", TORCH, path="x.pt", refused="TorchScript")
def _script(folder: Path) -> None:
    module = torch.jit.trace(torch.nn.Linear(3, 3), torch.zeros(1, 3))
    torch.jit.save(module, str(folder / "x.pt"))


@layout("torch.export", TORCH, path="x.pt2", refused="torch.export")
def _exported(folder: Path) -> None:
    program = torch.export.export(torch.nn.Linear(3, 3), (torch.zeros(1, 3),))
    torch.export.save(program, folder / "x.pt2")


@layout("torch.distributed.checkpoint", TORCH, refused="distributed checkpoint")
def _distributed(folder: Path) -> None:
    from torch.distributed.checkpoint.state_dict_saver import save

    save(hugging_face.model().state_dict(), checkpoint_id=str(folder))


@layout("DeepSpeed's parts", "deepspeed", refused="distributed checkpoint")
def _deepspeed(folder: Path) -> None:
    state = {"module": hugging_face.model().state_dict()}
    torch.save(state, folder / "mp_rank_00_model_states.pt")


@layout("quantize_dynamic", TORCH, path="x.pt", refused="quantized")
def _quantized(folder: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 4))
    quantize: Any = torch.ao.quantization.quantize_dynamic
    torch.save(quantize(model, {torch.nn.Linear}).state_dict(), folder / "x.pt")

"""nanoGPT, minGPT, build-nanogpt and llm.c, by their own code.

The folder GPT2_JAX_SOURCES holds clones of github.com/karpathy/{nanoGPT,minGPT,
build-nanogpt,llm.c}; without it these layouts are left out, and that is said.
"""

from __future__ import annotations

import ast
import functools
import importlib
import os
import sys
from pathlib import Path
from typing import Any

import torch

from experiments.layouts.spec import layout, logits, shaken

NANO: dict[str, Any] = {
    "vocab_size": 61,
    "block_size": 24,
    "n_embd": 12,
    "n_layer": 3,
    "n_head": 2,
}


def _source(project: str, file: str) -> Path:
    path = Path(os.environ.get("GPT2_JAX_SOURCES", "/none")) / project / file
    if not path.is_file():
        raise ImportError(f"GPT2_JAX_SOURCES has no {project}/{file}", name=project)
    return path


def _definitions(project: str, file: str) -> dict[str, Any]:
    """Run the imports, classes and functions of a script, and not the training.

    They are defined as in the script: in `__main__`, which pickle then names.
    """
    tree = ast.parse(_source(project, file).read_text("utf-8"))
    kinds = (ast.ClassDef, ast.FunctionDef, ast.Import, ast.ImportFrom)
    tree.body = [
        node
        for node in tree.body
        if (isinstance(node, kinds) and "hellaswag" not in ast.unparse(node))
        or (isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant))
    ]
    main = sys.modules["__main__"].__dict__
    exec(compile(tree, file, "exec"), main)
    return main


def nanogpt(**changes: Any) -> tuple[Any, dict[str, Any]]:
    main = _definitions("nanoGPT", "model.py")
    arguments = NANO | {"dropout": 0.0, "bias": True} | changes
    return shaken(main["GPT"](main["GPTConfig"](**arguments))), arguments


def _whole(model: Any) -> Any:
    """Return the logits of all tokens: without targets it gives the last one's."""
    head = model.lm_head
    try:
        model.lm_head = torch.nn.Identity()
        wide = model.transformer
        tokens = torch.tensor(_tokens())
        with torch.no_grad():
            x = wide.wte(tokens) + wide.wpe(torch.arange(tokens.shape[1]))
            for block in wide.h:
                x = block(x)
            return head(wide.ln_f(x)).numpy()
    finally:
        model.lm_head = head


def _tokens() -> Any:
    from experiments.layouts.spec import TOKENS

    return TOKENS


def _nanogpt(folder: Path, *, what: str, bias: bool = True) -> Any:
    model, arguments = nanogpt(bias=bias)
    state = model.state_dict()
    if what == "compiled":
        compiled: Any = torch.compile(model)
        state = compiled.state_dict()
    saved: dict[str, Any] = {
        "model": state,
        "optimizer": torch.optim.AdamW(model.parameters()).state_dict(),
        "iter_num": 5,
        "best_val_loss": torch.tensor(1.0),
        "config": {"batch_size": 12, "out_dir": "out"},
    }
    if what != "no model_args":
        saved["model_args"] = arguments
    torch.save(state if what == "bare" else saved, folder / "ckpt.pt")
    return _whole(model)


def _add(name: str, what: str, *, bias: bool = True, **told: Any) -> None:
    layout(name, "nanoGPT", path="ckpt.pt", **told)(
        functools.partial(_nanogpt, what=what, bias=bias)
    )


_add("ckpt.pt", "whole")
_add("ckpt.pt, bias=False", "whole", bias=False)
_add("ckpt.pt, compiled", "compiled")
_add("ckpt.pt without model_args", "no model_args", num_heads=2)
_add("bare, naming told", "bare", num_heads=2, naming="nanogpt")
_add("bare, bias=False", "bare", bias=False, num_heads=2)
_add(
    "bare, naming not told", "bare", num_heads=2, refused="nanoGPT and minGPT.*naming="
)


@layout("model.pt", "minGPT", path="model.pt", num_heads=2, naming="mingpt")
def _mingpt(folder: Path) -> Any:
    sys.path.insert(0, str(_source("minGPT", "mingpt/model.py").parents[1]))
    made = importlib.import_module("mingpt.model").GPT
    config = made.get_default_config()
    config.model_type = None
    for key, value in NANO.items():
        setattr(config, key, value)
    model = shaken(made(config))
    torch.save(model.state_dict(), folder / "model.pt")
    return logits(model)


@layout("model_00010.pt", "build-nanogpt", path="model.pt")
def _build(folder: Path) -> Any:
    main = _definitions("build-nanogpt", "train_gpt2.py")
    model = shaken(main["GPT"](main["GPTConfig"](**NANO)))
    saved = {"model": model.state_dict(), "config": model.config, "step": 10}
    torch.save(saved | {"val_loss": 3.0}, folder / "model.pt")
    return logits(model)


def _llm_c(folder: Path, *, dtype: str) -> Any:
    main = _definitions("llm.c", "train_gpt2.py")
    model = shaken(main["GPT"](main["GPTConfig"](**NANO | {"vocab_size": 50257})))
    main["write_model"](model, str(folder / "gpt2.bin"), dtype)
    if dtype == "bfloat16":
        model = model.to(torch.bfloat16).float()
    return _whole(model)


for _dtype in ("float32", "bfloat16"):
    layout(f"write_model, {_dtype}", "llm.c", path="gpt2.bin")(
        functools.partial(_llm_c, dtype=_dtype)
    )


@layout("a file of tokens", "llm.c", path="x.bin", refused="data file of llm.c")
def _data(folder: Path) -> None:
    (folder / "x.bin").write_bytes((20240520).to_bytes(4, "little") + bytes(2000))

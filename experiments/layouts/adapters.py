"""What peft writes."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from experiments.layouts import hugging_face
from experiments.layouts.spec import layout, logits, trunk_logits

PEFT = "peft"


def _peft(folder: Path, *, config: str, how: str, own: Mapping[str, Any]) -> Any:
    import peft  # pyright: ignore[reportMissingImports]

    base = hugging_face.model()
    if how == "classes":
        base = hugging_face.model(
            hugging_face.CLASSIFIER, num_labels=3, pad_token_id=60
        )
    base.save_pretrained(folder / "base")
    cls = type(base)
    if how == "trunk":
        import transformers

        cls = transformers.GPT2Model
    base: Any = cls.from_pretrained(folder / "base")
    task = {"classes": "SEQ_CLS", "trunk": "FEATURE_EXTRACTION"}.get(how, "CAUSAL_LM")
    made = getattr(peft, config)(task_type=task, **own)
    model = peft.get_peft_model(base, made)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    model.eval()
    is_trunk = how == "trunk"
    expected = trunk_logits(model.base_model.model) if is_trunk else logits(model)
    if how == "merged":
        model.merge_and_unload().save_pretrained(folder)
    elif how == "unmerged":
        torch.save(model.state_dict(), folder / "x.pt")
    else:
        model.save_pretrained(folder)
    return expected


_LORA = {"r": 2, "lora_alpha": 7, "fan_in_fan_out": True}
_ALL = {"target_modules": ["c_attn", "c_proj", "c_fc"]}
for _name, _how, _config, _own, _told in (
    ("LoRA of c_attn", "", "LoraConfig", _LORA, {}),
    (
        "LoRA of all kernels, rsLoRA",
        "",
        "LoraConfig",
        _LORA | _ALL | {"use_rslora": True},
        {},
    ),
    ("LoRA, biases", "", "LoraConfig", _LORA | {"bias": "all"}, {}),
    (
        "LoRA, rank_pattern",
        "",
        "LoraConfig",
        _LORA | _ALL | {"rank_pattern": {"c_fc": 3}},
        {},
    ),
    (
        "LoRA, alpha_pattern",
        "",
        "LoraConfig",
        _LORA | _ALL | {"alpha_pattern": {"h.0.attn.c_attn": 3}},
        {},
    ),
    ("LoRA, some layers", "", "LoraConfig", _LORA | {"layers_to_transform": [1]}, {}),
    (
        "LoRA, modules_to_save",
        "",
        "LoraConfig",
        _LORA | {"modules_to_save": ["ln_f"]},
        {},
    ),
    *(
        (
            f"LoRA, init_lora_weights={init!r}",
            "",
            "LoraConfig",
            _LORA | {"init_lora_weights": init},
            {"refused": "pissa.*merge"} if "pissa" in init else {},
        )
        for init in ("gaussian", "orthogonal", "pissa", "pissa_niter_4")
    ),
    (
        "LoRA, modules_to_save=wte",
        "",
        "LoraConfig",
        _LORA | {"modules_to_save": ["wte"]},
        {},
    ),
    (
        "LoRA, modules_to_save=wte, ensure_weight_tying",
        "",
        "LoraConfig",
        _LORA | {"modules_to_save": ["wte"], "ensure_weight_tying": True},
        {},
    ),
    (
        "LoRA, modules_to_save=lm_head, ensure_weight_tying",
        "",
        "LoraConfig",
        _LORA | {"modules_to_save": ["lm_head"], "ensure_weight_tying": True},
        {},
    ),
    (
        "LoRA, modules_to_save=wte of a classifier",
        "classes",
        "LoraConfig",
        _LORA | {"modules_to_save": ["wte", "score"]},
        {},
    ),
    (
        "LoRA, modules_to_save=lm_head",
        "",
        "LoraConfig",
        _LORA | {"modules_to_save": ["lm_head"]},
        {},
    ),
    (
        "LoRA, lora_bias",
        "",
        "LoraConfig",
        _LORA | {"lora_bias": True},
        {"refused": "merge"},
    ),
    (
        "LoRA, trainable_token_indices",
        "",
        "LoraConfig",
        _LORA | {"trainable_token_indices": [1, 2]},
        {"refused": "merge"},
    ),
    ("LoRA of GPT2Model", "trunk", "LoraConfig", _LORA, {}),
    ("LoRA of a classifier", "classes", "LoraConfig", _LORA, {}),
    (
        "LoRA of wte",
        "",
        "LoraConfig",
        _LORA | {"target_modules": ["wte"], "fan_in_fan_out": False},
        {"refused": "merge"},
    ),
    ("LoRA merged", "merged", "LoraConfig", _LORA, {}),
    (
        "LoRA unmerged, one file",
        "unmerged",
        "LoraConfig",
        _LORA,
        {"refused": "PEFT.*merge", "path": "x.pt"},
    ),
    (
        "the adapter's file alone",
        "",
        "LoraConfig",
        _LORA,
        {"refused": "PEFT.*folder", "path": "adapter_model.safetensors"},
    ),
    ("DoRA", "", "LoraConfig", _LORA | {"use_dora": True}, {"refused": "dora.*merge"}),
    (
        "IA3",
        "",
        "IA3Config",
        {
            "fan_in_fan_out": True,
            "target_modules": ["c_attn", "c_fc"],
            "feedforward_modules": ["c_fc"],
        },
        {"refused": "IA3.*merge"},
    ),
    (
        "prompt tuning",
        "",
        "PromptTuningConfig",
        {"num_virtual_tokens": 2},
        {"refused": "PROMPT_TUNING"},
    ),
    (
        "prefix tuning",
        "",
        "PrefixTuningConfig",
        {"num_virtual_tokens": 2},
        {"refused": "PREFIX_TUNING"},
    ),
):
    layout(_name, PEFT, **_told)(
        functools.partial(_peft, config=_config, how=_how, own=_own)
    )

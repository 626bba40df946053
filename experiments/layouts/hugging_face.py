"""What transformers writes, and what is found around it."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path
from typing import Any

import torch

from experiments.layouts.spec import SIZES, layout, logits, shaken, trunk_logits

HF = "transformers"
CLASSIFIER = "GPT2ForSequenceClassification"


def model(cls: str = "GPT2LMHeadModel", **settings: Any) -> Any:
    import transformers

    torch.manual_seed(0)
    config = transformers.GPT2Config(**{**SIZES, **settings})
    return shaken(getattr(transformers, cls)(config))


def _folder(folder: Path, cls: str = "GPT2LMHeadModel", **settings: Any) -> Any:
    made = model(cls, **settings)
    made.save_pretrained(folder)
    single = settings.get("num_labels") == 1
    whole = cls == "GPT2LMHeadModel" or (cls == CLASSIFIER and not single)
    return logits(made) if whole else trunk_logits(made)


def _add(name: str, cls: str = "GPT2LMHeadModel", **given: Any) -> None:
    """Register a folder of a class with settings of its config."""
    own = {key: given.pop(key) for key in ("refused",) if key in given}
    layout(name, HF, **own)(functools.partial(_folder, cls=cls, **given))


_add("GPT2Model", "GPT2Model")
_add("GPT2LMHeadModel")
_add("GPT2LMHeadModel, untied head", tie_word_embeddings=False)
_add("GPT2DoubleHeadsModel", "GPT2DoubleHeadsModel")
_add("GPT2ForTokenClassification", "GPT2ForTokenClassification")
_add("GPT2ForQuestionAnswering", "GPT2ForQuestionAnswering")
_add(f"{CLASSIFIER}, 3 labels", CLASSIFIER, num_labels=3, pad_token_id=60)
_add(f"{CLASSIFIER}, one logit", CLASSIFIER, num_labels=1, pad_token_id=60)
for _act in ("gelu", "gelu_new", "gelu_pytorch_tanh", "gelu_fast", "relu"):
    _add(f"activation_function={_act}", activation_function=_act)
for _act in ("silu", "quick_gelu", "gelu_10"):
    _add(f"activation_function={_act}", activation_function=_act, refused=_act)
_SETTINGS: tuple[dict[str, Any], ...] = (
    {"layer_norm_epsilon": 0.01},
    {"n_inner": 20},
    {"scale_attn_weights": False},
    {"scale_attn_by_inverse_layer_idx": True},
    {"scale_attn_weights": False, "scale_attn_by_inverse_layer_idx": True},
    {"reorder_and_upcast_attn": True},
    {"n_layer": 1},
)
for _settings in _SETTINGS:
    _add(", ".join(f"{k}={v}" for k, v in _settings.items()), **_settings)
_add("add_cross_attention=True", add_cross_attention=True, refused="add_cross_att")


@layout("vocabulary padded with rows", HF)
def _padded(folder: Path) -> Any:
    made = model()
    made.resize_token_embeddings(64)
    shaken(made).save_pretrained(folder)
    return logits(made)


def _typed(folder: Path, dtype: torch.dtype, *, pickled: bool) -> Any:
    """Write weights of another type; expected is what float32 computes with them."""
    made = model().to(dtype)
    if pickled:
        made.config.save_pretrained(folder)
        torch.save(made.state_dict(), folder / "pytorch_model.bin")
    else:
        made.save_pretrained(folder)
    return logits(made.float())


for _dtype in (torch.bfloat16, torch.float16, torch.float64):
    for _pickled in (False, True):
        _kind = "pytorch_model.bin" if _pickled else "safetensors"
        layout(f"{str(_dtype).removeprefix('torch.')}, {_kind}", HF)(
            functools.partial(_typed, dtype=_dtype, pickled=_pickled)
        )


@layout("safetensors in shards", HF)
def _shards(folder: Path) -> Any:
    made = model()
    made.save_pretrained(folder, max_shard_size="8KB")
    assert (folder / "model.safetensors.index.json").is_file()
    return logits(made)


@layout("pytorch_model.bin in shards", HF)
def _bin_shards(folder: Path) -> Any:
    made = model()
    made.config.save_pretrained(folder)
    state = made.state_dict()
    where = {}
    for part in (1, 2):
        name = f"pytorch_model-0000{part}-of-00002.bin"
        torch.save({n: state[n] for n in list(state)[part - 1 :: 2]}, folder / name)
        where |= dict.fromkeys(list(state)[part - 1 :: 2], name)
    index = {"metadata": {"total_size": 1}, "weight_map": where}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    return logits(made)


def _bin(folder: Path, *, legacy: bool) -> Any:
    made = model()
    made.config.save_pretrained(folder)
    path = folder / "pytorch_model.bin"
    new = not legacy
    torch.save(made.state_dict(), path, _use_new_zipfile_serialization=new)
    return logits(made)


layout("pytorch_model.bin", HF)(functools.partial(_bin, legacy=False))
layout("pytorch_model.bin before torch 1.6", HF)(functools.partial(_bin, legacy=True))
layout("the file model.safetensors itself", HF, path="model.safetensors")(_folder)


@layout("safetensors without config.json", HF, path="x.safetensors", num_heads=2)
def _alone(folder: Path) -> Any:
    expected = _folder(folder)
    shutil.move(folder / "model.safetensors", folder / "x.safetensors")
    (folder / "config.json").unlink()
    return expected


layout(
    "safetensors without config.json, heads not told",
    HF,
    path="x.safetensors",
    refused="give num_heads",
)(_alone)


@layout("old buffers attn.bias and attn.masked_bias", HF)
def _buffers(folder: Path) -> Any:
    made = model()
    made.config.save_pretrained(folder)
    state = made.state_dict()
    for i in range(3):
        mask = torch.tril(torch.ones(24, 24, dtype=torch.uint8))[None, None]
        state[f"transformer.h.{i}.attn.bias"] = mask
        state[f"transformer.h.{i}.attn.masked_bias"] = torch.tensor(-1e4)
    torch.save(state, folder / "pytorch_model.bin")
    return logits(made)


def _trainer(folder: Path) -> Any:
    return _folder(folder / "checkpoint-3")


layout("a checkpoint of Trainer", HF, path="checkpoint-3")(_trainer)
layout("Trainer's folder", HF, refused="Trainer .*checkpoint")(_trainer)


def _cache(folder: Path) -> Any:
    snapshot = folder / "models--own--model" / "snapshots" / ("a" * 40)
    expected = _folder(snapshot)
    return expected


layout("the hub's cache folder", "huggingface_hub", path="models--own--model")(_cache)


def _problem(folder: Path, kind: str, labels: int) -> Any:
    model(
        CLASSIFIER, num_labels=labels, pad_token_id=60, problem_type=kind
    ).save_pretrained(folder)


for _kind, _labels in (("multi_label_classification", 3), ("regression", 2)):
    layout(
        f"{CLASSIFIER}, {_kind}", HF, refused=_kind, as_classifier=True, classes=_labels
    )(functools.partial(_problem, kind=_kind, labels=_labels))

# Other families, each as transformers makes and saves it.
_SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
_SMALL |= {"vocab_size": 61, "intermediate_size": 32, "num_layers": 2, "num_heads": 2}
_SMALL |= {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 24, "d_model": 16}
_SMALL |= {"num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "GPT-Neo": ("GPTNeo", {"attention_types": [[["global", "local"], 1]]}),
    "GPT-J": ("GPTJ", {"rotary_dim": 4}),
    "GPT-NeoX (Pythia)": ("GPTNeoX", {}),
    "GPTBigCode (StarCoder)": ("GPTBigCode", {}),
    "GPT-1": ("OpenAIGPT", {}),
    "ImageGPT": ("ImageGPT", {}),
    "CodeGen": ("CodeGen", {"rotary_dim": 4}),
    "BioGPT": ("BioGpt", {}),
    "Bloom": ("Bloom", {}),
    "OPT": ("OPT", {"ffn_dim": 32, "word_embed_proj_dim": 16}),
    "CTRL": ("CTRL", {"dff": 32}),
    "BERT": ("Bert", {}),
    "RoBERTa": ("Roberta", {}),
    "T5": ("T5", {"d_kv": 8, "d_ff": 32}),
    "Llama": ("Llama", {}),
    "Mistral": ("Mistral", {}),
    "Qwen2": ("Qwen2", {}),
    "Gemma": ("Gemma", {}),
    "Phi": ("Phi", {}),
    "MPT": ("Mpt", {"n_heads": 2, "n_layers": 2}),
    "Mamba": ("Mamba", {"state_size": 4, "expand": 2}),
}


def _family(folder: Path, cls: str, own: dict[str, Any]) -> None:
    import transformers

    config = getattr(transformers, f"{cls}Config")()
    kept = {key: value for key, value in _SMALL.items() if key in config.to_dict()}
    config = type(config)(**{**kept, **own})
    getattr(transformers, f"{cls}Model")(config).save_pretrained(folder)


for _name, (_cls, _own) in FAMILIES.items():
    layout(_name, HF, refused="model_type='[^']+': another model")(
        functools.partial(_family, cls=_cls, own=_own)
    )


# Families of the same architecture: what their config.json has beside the sizes.
for _name, _settings in {
    "DistilGPT2's config": {"_num_labels": 1, "id2label": {0: "LABEL_0"}},
    "DialoGPT's config": {"task_specific_params": {"conversational": {}}},
    "Cerebras-GPT's config": {
        "activation_function": "gelu",
        "n_inner": 48,
        "scale_attn_weights": True,
    },
    "GPT-SW3's config": {"apply_query_key_layer_scaling": True, "n_inner": 48},
    "pruned heads told, none pruned": {"pruned_heads": {}},
}.items():
    _add(_name, **_settings)

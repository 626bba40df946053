"""Flax, TensorFlow, Keras, adapters, quantized weights, and other programs' files.

Where it is not the program itself that writes (its package is no Python package, needs a
GPU, or is not in the index), the names are those of its documentation, and the writer
has "as" before it.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.layouts import hugging_face
from experiments.layouts.spec import SIZES, TOKENS, layout, logits, shaken, trunk_logits

HF, TF, PEFT = "transformers", "tensorflow", "peft"


# --- Flax and TensorFlow, by transformers 4


def _flax(folder: Path, *, cls: str, safe: bool) -> Any:
    import transformers

    made: Any = getattr(transformers, f"Flax{cls}")
    hugging_face.model().save_pretrained(folder / "torch")
    model = made.from_pretrained(folder / "torch", from_pt=True)
    model.save_pretrained(folder, safe_serialization=safe)
    out = hugging_face.model()
    return logits(out) if cls == "GPT2LMHeadModel" else trunk_logits(out)


for _cls in ("GPT2Model", "GPT2LMHeadModel"):
    for _safe in (False, True):
        _kind = "safetensors of flax" if _safe else "flax_model.msgpack"
        layout(f"Flax{_cls}, {_kind}", HF)(
            functools.partial(_flax, cls=_cls, safe=_safe)
        )


def _tensorflow(folder: Path, *, how: str) -> None:
    from transformers import TFGPT2LMHeadModel

    hugging_face.model().save_pretrained(folder / "torch", safe_serialization=False)
    model: Any = TFGPT2LMHeadModel.from_pretrained(folder / "torch", from_pt=True)
    if how == "saved_model":
        import tensorflow as tf

        tf.saved_model.save(tf.Module(), str(folder))
    else:
        model.save_pretrained(folder, safe_serialization=how == "safetensors")


for _how, _match in {
    "h5": "HDF5 file of Keras",
    "safetensors": "weights of TensorFlow",
    "saved_model": "SavedModel",
}.items():
    layout(f"TFGPT2LMHeadModel, {_how}", TF, refused=_match)(
        functools.partial(_tensorflow, how=_how)
    )


@layout("OpenAI's checkpoint", TF)
def _openai(folder: Path) -> Any:
    import tensorflow as tf

    model = hugging_face.model()
    tensors = {}
    for full, value in model.transformer.state_dict().items():
        layer, _, leaf = full.rpartition(".")
        name = "model/" + layer.replace("h.", "h").replace(".", "/")
        array = value.numpy()
        if not layer.endswith(("wte", "wpe")):
            kernel = leaf == "weight" and "ln_" not in layer
            name += "/b" if leaf == "bias" else "/w" if kernel else "/g"
            array = array[None] if kernel else array
        tensors[name] = array
    tf.raw_ops.SaveV2(
        prefix=str(folder / "model.ckpt"),
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=list(tensors.values()),
    )
    hparams = {"n_vocab": 61, "n_ctx": 24, "n_embd": 12, "n_head": 2, "n_layer": 3}
    (folder / "hparams.json").write_text(json.dumps(hparams))
    return logits(model)


def _keras_hub(folder: Path, *, how: str) -> None:
    import keras_hub

    backbone = keras_hub.models.GPT2Backbone(
        vocabulary_size=61,
        num_layers=2,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        max_sequence_length=24,
    )
    if how == "preset":
        backbone.save_to_preset(str(folder))
    elif how == "weights":
        backbone.save_weights(folder / "x.weights.h5")
    else:
        backbone.save(folder / "x.keras")


for _how, _path in {
    "preset": ".",
    "weights": "x.weights.h5",
    "model": "x.keras",
}.items():
    layout(f"GPT2Backbone, {_how}", "keras-hub", path=_path, refused="KerasHub")(
        functools.partial(_keras_hub, how=_how)
    )


# --- adapters


def _peft(folder: Path, *, config: str, how: str, own: Mapping[str, Any]) -> Any:
    import peft

    base = hugging_face.model()
    if how == "classes":
        base = hugging_face.model(
            hugging_face.CLASSIFIER, num_labels=3, pad_token_id=60
        )
    base.save_pretrained(folder / "base")
    base = type(base).from_pretrained(folder / "base")
    task = "SEQ_CLS" if how == "classes" else "CAUSAL_LM"
    made = getattr(peft, config)(task_type=task, **own)
    model = peft.get_peft_model(base, made)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    model.eval()
    expected = logits(model)
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
    ("LoRA of all kernels, rsLoRA", "", "LoraConfig", _LORA | _ALL | {"use_rslora": True}, {}),
    ("LoRA, biases", "", "LoraConfig", _LORA | {"bias": "all"}, {}),
    ("LoRA, rank_pattern", "", "LoraConfig", _LORA | _ALL | {"rank_pattern": {"c_fc": 3}}, {}),
    ("LoRA, alpha_pattern", "", "LoraConfig", _LORA | _ALL | {"alpha_pattern": {"h.0.attn.c_attn": 3}}, {}),
    ("LoRA, some layers", "", "LoraConfig", _LORA | {"layers_to_transform": [1]}, {}),
    ("LoRA, modules_to_save", "", "LoraConfig", _LORA | {"modules_to_save": ["ln_f"]}, {}),
    ("LoRA of a classifier", "classes", "LoraConfig", _LORA, {}),
    ("LoRA of wte", "", "LoraConfig", _LORA | {"target_modules": ["wte"], "fan_in_fan_out": False}, {"refused": "merge"}),
    ("LoRA merged", "merged", "LoraConfig", _LORA, {}),
    ("LoRA unmerged, one file", "unmerged", "LoraConfig", _LORA, {"refused": "PEFT.*merge", "path": "x.pt"}),
    ("the adapter's file alone", "", "LoraConfig", _LORA, {"refused": "PEFT.*folder", "path": "adapter_model.safetensors"}),
    ("DoRA", "", "LoraConfig", _LORA | {"use_dora": True}, {"refused": "dora.*merge"}),
    ("IA3", "", "IA3Config", {"fan_in_fan_out": True, "target_modules": ["c_attn", "c_fc"], "feedforward_modules": ["c_fc"]}, {"refused": "IA3.*merge"}),
    ("prompt tuning", "", "PromptTuningConfig", {"num_virtual_tokens": 2}, {"refused": "PROMPT_TUNING"}),
    ("prefix tuning", "", "PrefixTuningConfig", {"num_virtual_tokens": 2}, {"refused": "PREFIX_TUNING"}),
):  # fmt: skip
    layout(_name, PEFT, **_told)(
        functools.partial(_peft, config=_config, how=_how, own=_own)
    )


# --- what is laid out as others do, without them


def _renamed(folder: Path, made: Mapping[str, np.ndarray], *, alone: bool) -> None:
    from safetensors.numpy import save_file

    if not alone:
        hugging_face.model().config.save_pretrained(folder)
    save_file(
        {n: np.ascontiguousarray(v) for n, v in made.items()},
        folder / "model.safetensors",
    )


def _quantized(folder: Path, *, kind: str) -> None:
    """Put what a quantizer names its parts in the place of c_attn's kernels."""
    state = {
        n: v.numpy() for n, v in hugging_face.model().transformer.state_dict().items()
    }
    leaves: dict[str, np.ndarray] = _PARTS[kind]
    for name in [n for n in state if n.endswith("attn.c_attn.weight")]:
        del state[name]
        state |= {name.removesuffix("weight") + leaf: v for leaf, v in leaves.items()}
    _renamed(folder, state, alone=False)


_U8, _F32 = np.ones((36, 6), np.uint8), np.ones((36, 1), np.float32)
_PARTS: dict[str, dict[str, np.ndarray]] = {
    "bitsandbytes, 8 bit": {"weight": np.ones((36, 12), np.int8), "SCB": _F32},
    "bitsandbytes, 4 bit": {"weight": _U8, "weight.absmax": _F32, "weight.quant_map": _F32},
    "GPTQ": {"qweight": np.ones((2, 36), np.int32), "qzeros": np.ones((1, 5), np.int32), "scales": _F32, "g_idx": np.ones(12, np.int32)},
    "AWQ": {"qweight": np.ones((12, 5), np.int32), "qzeros": np.ones((1, 5), np.int32), "scales": _F32},
    "compressed-tensors": {"weight_packed": np.ones((36, 2), np.int32), "weight_scale": _F32, "weight_shape": np.ones(2, np.int64)},
    "optimum-quanto": {"weight._data": _U8, "weight._scale": _F32},
    "HQQ": {"W_q": _U8, "scale": _F32, "zero": _F32},
    "fine-grained fp8": {"weight": _U8, "weight_scale_inv": _F32},
    "MLX, quantized": {"weight": np.ones((36, 2), np.uint32), "scales": _F32, "biases": _F32},
}  # fmt: skip
for _kind in _PARTS:
    layout(f"as {_kind}", "safetensors", refused="quantized|holds U32 tensors.*again")(
        functools.partial(_quantized, kind=_kind)
    )


@layout("float8 tensors", "safetensors", refused="F8_E4M3 tensors.*again")
def _float8(folder: Path) -> None:
    from safetensors.torch import save_file

    model = hugging_face.model()
    model.config.save_pretrained(folder)
    state = model.transformer.state_dict()
    state = {n: v.to(torch.float8_e4m3fn) for n, v in state.items()}
    save_file(state, folder / "model.safetensors")


@layout(
    "as mlx-lm: kernels [out, in]", "safetensors", refused="c_attn.weight is .*naming"
)
def _mlx(folder: Path) -> None:
    kernels = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
    _renamed(folder, {
        f"model.{n}": v.numpy().T if n.endswith(kernels) else v.numpy()
        for n, v in hugging_face.model().transformer.state_dict().items()
    }, alone=False)  # fmt: skip


_NAMES = {
    "as Megatron-LM": "language_model.encoder.layers.0.self_attention.query_key_value.weight",
    "as fairseq": "decoder.layers.0.self_attn.k_proj.weight",
    "as x-transformers": "attn_layers.layers.0.1.to_q.weight",
    "as TransformerLens": "blocks.0.attn.W_Q",
    "as a GGUF's tensors": "blk.0.attn_qkv.weight",
    "as Meta's Llama": "layers.0.attention.wq.weight",
    "as torchtune": "layers.0.attn.q_proj.weight",
}
for _name, _tensor in _NAMES.items():
    layout(
        _name, "safetensors", path="model.safetensors", refused="only GPT-2 is read|GGUF"
    )(
        functools.partial(
            _renamed, made={_tensor: np.ones((4, 4), np.float32)}, alone=True
        )
    )


@layout("GGUFWriter", "gguf", path="x.gguf", refused="GGUF")
def _gguf(folder: Path) -> None:
    import gguf

    writer = gguf.GGUFWriter(folder / "x.gguf", "gpt2")
    writer.add_tensor("token_embd.weight", np.ones((4, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@layout("an ONNX graph", "onnx", path="x.onnx", refused="ONNX")
def _onnx(folder: Path) -> None:
    import onnx

    graph = onnx.helper.make_graph([], "g", [], [])
    onnx.save(onnx.helper.make_model(graph), folder / "x.onnx")


_BYTES: dict[str, tuple[str, bytes, str]] = {
    "a Git LFS pointer": ("model.safetensors", b"version https://git-lfs.github.com/spec/v1\n", "LFS"),
    "a web page": ("model.safetensors", b"<!DOCTYPE html><html>", "web page"),
    "an empty file": ("x.pth", b"", "no file that torch.save wrote; save"),
    "old ggml": ("ggml-model.bin", b"lmgg" + bytes(100), "GGML"),
    "numpy's .npz": ("x.npz", b"PK\x03\x04", "numpy"),
    "a pickle, .pkl": ("x.pkl", b"\x80\x04}.", "pickle"),
    "CTranslate2's model.bin": ("model.bin", b"\x06\x00\x00\x00" + bytes(100), "no file that torch.save wrote; save"),
    "PaddlePaddle": ("x.pdparams", b"\x80\x04}.", "another runtime"),
    "rust-bert's .ot": ("rust_model.ot", b"PK\x03\x04", "another runtime"),
    "OpenVINO's .xml": ("openvino_model.xml", b"<?xml?>", "another runtime"),
    "TFLite": ("64.tflite", b"\x1c\x00\x00\x00TFL3", "another runtime"),
    "an archive, .tar.gz": ("x.tar.gz", b"\x1f\x8b\x08", "archive"),
    "an archive, .zip": ("x.zip", b"PK\x03\x04", "archive"),
    "TensorFlow's .ckpt.data": ("model.ckpt.data-00000-of-00001", bytes(100), "TensorFlow's.*folder"),
    "TensorFlow's .ckpt.index": ("model.ckpt.index", bytes(100), "TensorFlow's.*folder"),
    "an index of shards": ("model.safetensors.index.json", b"{}", "folder"),
    "config.json": ("config.json", b"{}", "folder"),
}  # fmt: skip


def _bytes(folder: Path, *, file: str, content: bytes) -> None:
    (folder / file).write_bytes(content)


for _name, (_file, _content, _match) in _BYTES.items():
    layout(_name, "no weights", path=_file, refused=_match)(
        functools.partial(_bytes, file=_file, content=_content)
    )


@layout("an orbax checkpoint of another program", "orbax-checkpoint", refused="orbax")
def _orbax(folder: Path) -> None:
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / "there", {"a": np.ones(3, np.float32)})
    for entry in (folder / "there").iterdir():
        entry.rename(folder / entry.name)

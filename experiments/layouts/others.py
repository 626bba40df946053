"""Quantized weights, other models' names, and other programs' files.

Where it is not the program itself that writes (it is no Python package, needs a
GPU, or is not in the index), the names are those of its documentation, and the layout
has "as" before it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from experiments.layouts import hugging_face
from experiments.layouts.spec import layout


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
    "bitsandbytes, 4 bit": {
        "weight": _U8,
        "weight.absmax": _F32,
        "weight.quant_map": _F32,
    },
    "GPTQ": {
        "qweight": np.ones((2, 36), np.int32),
        "qzeros": np.ones((1, 5), np.int32),
        "scales": _F32,
        "g_idx": np.ones(12, np.int32),
    },
    "AWQ": {
        "qweight": np.ones((12, 5), np.int32),
        "qzeros": np.ones((1, 5), np.int32),
        "scales": _F32,
    },
    "compressed-tensors": {
        "weight_packed": np.ones((36, 2), np.int32),
        "weight_scale": _F32,
        "weight_shape": np.ones(2, np.int64),
    },
    "optimum-quanto": {"weight._data": _U8, "weight._scale": _F32},
    "HQQ": {"W_q": _U8, "scale": _F32, "zero": _F32},
    "fine-grained fp8": {"weight": _U8, "weight_scale_inv": _F32},
    "MLX, quantized": {
        "weight": np.ones((36, 2), np.uint32),
        "scales": _F32,
        "biases": _F32,
    },
}
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
    _renamed(
        folder,
        {
            f"model.{n}": v.numpy().T if n.endswith(kernels) else v.numpy()
            for n, v in hugging_face.model().transformer.state_dict().items()
        },
        alone=False,
    )


_NAMES = {
    "as Megatron-LM": "language_model.encoder.layers.0.mlp.dense_h_to_4h.weight",
    "as fairseq": "decoder.layers.0.self_attn.k_proj.weight",
    "as x-transformers": "attn_layers.layers.0.1.to_q.weight",
    "as TransformerLens": "blocks.0.attn.W_Q",
    "as a GGUF's tensors": "blk.0.attn_qkv.weight",
    "as Meta's Llama": "layers.0.attention.wq.weight",
    "as torchtune": "layers.0.attn.q_proj.weight",
}
for _name, _tensor in _NAMES.items():
    layout(
        _name,
        "safetensors",
        path="model.safetensors",
        refused="only GPT-2 is read|GGUF",
    )(
        functools.partial(
            _renamed, made={_tensor: np.ones((4, 4), np.float32)}, alone=True
        )
    )


@layout("GGUFWriter", "gguf", path="x.gguf", refused="GGUF")
def _gguf(folder: Path) -> None:
    import gguf  # pyright: ignore[reportMissingImports]

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
    "a Git LFS pointer": (
        "model.safetensors",
        b"version https://git-lfs.github.com/spec/v1\n",
        "LFS",
    ),
    "a web page": ("model.safetensors", b"<!DOCTYPE html><html>", "web page"),
    "an empty file": ("x.pth", b"", "no file that torch.save wrote; save"),
    "old ggml": ("ggml-model.bin", b"lmgg" + bytes(100), "GGML"),
    "numpy's .npz": ("x.npz", b"PK\x03\x04", "numpy"),
    "a pickle, .pkl": ("x.pkl", b"\x80\x04}.", "pickle"),
    "CTranslate2's model.bin": (
        "model.bin",
        b"\x06\x00\x00\x00" + bytes(100),
        "no file that torch.save wrote; save",
    ),
    "PaddlePaddle": ("x.pdparams", b"\x80\x04}.", "another runtime"),
    "rust-bert's .ot": ("rust_model.ot", b"PK\x03\x04", "another runtime"),
    "OpenVINO's .xml": ("openvino_model.xml", b"<?xml?>", "another runtime"),
    "TFLite": ("64.tflite", b"\x1c\x00\x00\x00TFL3", "another runtime"),
    "an archive, .tar.gz": ("x.tar.gz", b"\x1f\x8b\x08", "archive"),
    "an archive, .zip": ("x.zip", b"PK\x03\x04", "archive"),
    "TensorFlow's .ckpt.data": (
        "model.ckpt.data-00000-of-00001",
        bytes(100),
        "TensorFlow's.*folder",
    ),
    "TensorFlow's .ckpt.index": (
        "model.ckpt.index",
        bytes(100),
        "TensorFlow's.*folder",
    ),
    "an index of shards": ("model.safetensors.index.json", b"{}", "folder"),
    "config.json": ("config.json", b"{}", "folder"),
}


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

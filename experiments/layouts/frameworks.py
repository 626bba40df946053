"""What Flax, TensorFlow and Keras write of a GPT-2."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from experiments.layouts import hugging_face
from experiments.layouts.spec import layout, logits, trunk_logits

HF, TF = "transformers", "tensorflow"


def _flax(folder: Path, *, cls: str, safe: bool, size: str = "1GB") -> Any:
    import transformers

    made: Any = getattr(transformers, f"Flax{cls}")
    hugging_face.model().save_pretrained(folder / "torch")
    model = made.from_pretrained(folder / "torch", from_pt=True)
    model.save_pretrained(folder, safe_serialization=safe, max_shard_size=size)
    out = hugging_face.model()
    return logits(out) if cls == "GPT2LMHeadModel" else trunk_logits(out)


for _cls in ("GPT2Model", "GPT2LMHeadModel"):
    for _safe in (False, True):
        _kind = "safetensors of flax" if _safe else "flax_model.msgpack"
        layout(f"Flax{_cls}, {_kind}", HF)(
            functools.partial(_flax, cls=_cls, safe=_safe)
        )


layout("FlaxGPT2LMHeadModel, msgpack in shards", HF, refused="flax.*shards")(
    functools.partial(_flax, cls="GPT2LMHeadModel", safe=False, size="8KB")
)


def _tensorflow(folder: Path, *, how: str) -> None:
    import transformers

    made: Any = getattr(transformers, "TFGPT2LMHeadModel")  # noqa: B009  (not in 5)
    hugging_face.model().save_pretrained(folder / "torch", safe_serialization=False)
    model = made.from_pretrained(folder / "torch", from_pt=True)
    if how == "saved_model":
        import tensorflow as tf  # pyright: ignore[reportMissingModuleSource]

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
    import tensorflow as tf  # pyright: ignore[reportMissingModuleSource]

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
    import keras_hub  # pyright: ignore[reportMissingImports]

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

"""An ONNX file, its tokenizer and its labels, and what onnxruntime makes of it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gpt2_jax.errors import DeviceError
from gpt2_jax.export import hugging_face, onnx_graph
from gpt2_jax.export.tokenizer_files import write_tokenizer
from gpt2_jax.storage.sealed import write_sums
from gpt2_jax.weights.trained import TrainedModel

MODEL_FILE, ABOUT_FILE = "model.onnx", "model.json"

_PARAMETERS_FILE = "model.onnx_data"

_MAX_BYTES = 2**31 - 2**20  # of a protobuf message; what is larger lies beside it

_EXTRA = ("onnx", "onnxruntime")


def check_installed() -> None:
    """Raise DeviceError if a package of the extra is missing."""
    try:
        import onnx  # noqa: F401  (is it there?)
        import onnxruntime  # noqa: F401  (likewise)
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        raise DeviceError(
            "--format onnx needs the extra: pip install 'gpt2-jax[onnx]'"
        ) from None


def write(folder: Path, trained: TrainedModel) -> None:
    """Write the float32 graph, the tokenizer, and the labels with how to call it."""
    import onnx

    folder.mkdir(parents=True)
    model = onnx_graph.build(trained)
    large = onnx_graph.num_bytes(model) > _MAX_BYTES
    onnx.save_model(
        model,
        folder / MODEL_FILE,
        save_as_external_data=large,
        location=_PARAMETERS_FILE if large else None,
    )
    onnx.checker.check_model(folder / MODEL_FILE)
    own = trained.tokenizer
    write_tokenizer(folder, trained.max_length, classifier=True, tokenizer=own)
    values = hugging_face.classifier_values(trained)
    hugging_face.write_config(folder, trained.config, values, own)
    text = json.dumps(_about(trained), indent=2, ensure_ascii=False) + "\n"
    (folder / ABOUT_FILE).write_text(text, "utf-8")
    write_sums(folder)


def read(folder: Path) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return what maps tokens [B, T] and lengths [B] to logits [B, C] by onnxruntime.

    Its probabilities are left to the caller: they are the softmax of these.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(
        folder / MODEL_FILE, options, providers=["CPUExecutionProvider"]
    )

    def logits(tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        mask = np.arange(tokens.shape[1])[None] < lengths[:, None]
        values = (tokens.astype(np.int64), mask.astype(np.int64))
        given = dict(zip(onnx_graph.INPUTS, values, strict=True))
        return np.asarray(session.run(list(onnx_graph.OUTPUTS[:1]), given)[0])

    return logits


def quantize(folder: Path) -> None:
    """Make the kernels int8, and the activations int8 while it runs; in place."""
    from onnxruntime import quantization

    whole = folder / MODEL_FILE
    small = folder / "int8.onnx"
    external = (folder / _PARAMETERS_FILE).exists()
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it advises to shape what has no fixed shape
    try:
        quantization.quantize_dynamic(
            whole,
            small,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            weight_type=quantization.QuantType.QInt8,
            use_external_data_format=external,
        )
    finally:
        root.setLevel(level)
    whole.unlink()
    (folder / _PARAMETERS_FILE).unlink(missing_ok=True)
    small.rename(whole)
    write_sums(folder)


def _about(trained: TrainedModel) -> dict[str, Any]:
    return {
        "format": "ONNX",
        "file": MODEL_FILE,
        "opset": onnx_graph.OPSET,
        "classes": list(trained.classes),
        "max_length": trained.max_length,
        "pad_id": trained.tokenizer.end_id,
        "pool": trained.config.pool,
        "input_ids": (
            "int64 [batch, tokens], cut to max_length, an empty text is one pad_id; "
            "tokenizer.json makes them (tokenizers: set encode_special_tokens)"
        ),
        "attention_mask": "int64 [batch, tokens], 1 where a token is of the text",
        "logits": "float32 [batch, classes]; a calibration's temperature is in them",
        "probabilities": "float32 [batch, classes], the softmax of the logits",
    }

"""Weights and classifiers for other tools."""

# What `convert` and `export` write; they stand here, where nothing loads jax.
CONVERT_FORMATS = ("hf", "llms-from-scratch", "orbax")
EXPORT_FORMATS = ("hf", "llms-from-scratch", "onnx", "stablehlo")
QUANTIZED = ("int8",)  # of ONNX

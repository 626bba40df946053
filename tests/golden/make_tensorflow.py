"""Write the weights of `weights/hf_safetensors` as OpenAI's TensorFlow checkpoint.

    python tests/golden/make_tensorflow.py

needs tensorflow and safetensors (made with 2.21.0), best in an environment of its own.
Names and shapes are those of openai/gpt-2's `src/model.py`. Run `make_weights.py`
first.
"""

from __future__ import annotations

import json
from pathlib import Path

import safetensors.numpy
import tensorflow as tf

FOLDER = Path(__file__).parent / "weights"
LEAVES = {"weight": "g", "bias": "b"}


def main() -> None:
    source = FOLDER / "hf_safetensors"
    state = safetensors.numpy.load_file(source / "model.safetensors")
    config = json.loads((source / "config.json").read_text())
    target = FOLDER / "openai"
    target.mkdir(exist_ok=True)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for full_name, value in state.items():
            name = full_name.removeprefix("transformer.").replace("h.", "h", 1)
            if name in ("wte.weight", "wpe.weight"):
                name = name.removesuffix(".weight")
            elif ".c_" in name and name.endswith(".weight"):
                name, value = name.removesuffix("weight") + "w", value[None]
            else:
                head, _, leaf = name.rpartition(".")
                name = f"{head}.{LEAVES[leaf]}"
            name = name.replace(".", "/")
            tf.compat.v1.get_variable(f"model/{name}", initializer=tf.constant(value))
        tf.compat.v1.get_variable("global_step", initializer=tf.constant(3))
        session.run(tf.compat.v1.global_variables_initializer())
        saver = tf.compat.v1.train.Saver(save_relative_paths=True)
        saver.save(session, str(target / "model.ckpt"), write_meta_graph=False)
    hparams = {
        "n_vocab": config["vocab_size"],
        "n_ctx": config["n_positions"],
        "n_embd": config["n_embd"],
        "n_head": config["n_head"],
        "n_layer": config["n_layer"],
    }
    (target / "hparams.json").write_text(json.dumps(hparams))


if __name__ == "__main__":
    main()

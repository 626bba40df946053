"""The peer of serve.py: the same model in FastAPI + transformers' pipeline.

As its documentation and most tutorials do it: a synchronous route, which FastAPI runs
in its thread pool, calls the pipeline for the one text of the request. Run by serve.py;
needs PyTorch and transformers.
"""

from __future__ import annotations

import importlib.resources
import sys
from pathlib import Path

import numpy as np
import torch
import transformers
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from transformers.convert_slow_tokenizer import TikTokenConverter

from gpt2_jax import tokenizer as ours
from gpt2_jax.weights.convert import to_state_dict
from gpt2_jax.weights.rules import HUGGING_FACE
from gpt2_jax.weights.trained import TrainedModel, load_model


def to_transformers(
    trained: TrainedModel,
) -> transformers.GPT2ForSequenceClassification:
    """Return the classifier as transformers' own, which has no bias in its head."""
    config = trained.config
    model = transformers.GPT2ForSequenceClassification(
        transformers.GPT2Config(
            vocab_size=config.vocab_size,
            n_positions=config.max_len,
            n_embd=config.embed_dim,
            n_layer=config.num_layers,
            n_head=config.num_heads,
            num_labels=len(trained.classes),
            id2label=dict(enumerate(trained.classes)),
            pad_token_id=ours.END_OF_TEXT,
        )
    )
    state = {
        f"transformer.{name}": np.array(value)
        for name, value in to_state_dict(trained.params, HUGGING_FACE).items()
    }
    weight = state.pop("transformer.lm_head.weight")  # the head, [C, D]
    # W (x + d) = W x + b for this d, the shortest one: the bias moves into ln_f.
    bias = np.asarray(trained.params["out_head"]["bias"])
    state["transformer.ln_f.bias"] += weight.T @ np.linalg.solve(
        weight @ weight.T, bias
    )
    state["score.weight"] = weight
    model.load_state_dict({name: torch.from_numpy(v) for name, v in state.items()})
    return model.eval()


def gpt2_tokenizer() -> transformers.PreTrainedTokenizerFast:
    asset = importlib.resources.files("gpt2_jax") / "assets" / "gpt2.tiktoken"
    converter = TikTokenConverter(str(asset), pattern=ours._PATTERN)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=converter.converted())


class Text(BaseModel):
    text: str


def main(run: Path, port: int) -> None:
    """Serve `run` at `port`."""
    trained = load_model(run)
    classify = transformers.pipeline(
        "text-classification",
        model=to_transformers(trained),
        tokenizer=gpt2_tokenizer(),
        top_k=None,
    )
    app = FastAPI()

    @app.post("/classify")
    def answer(request: Text) -> dict[str, float]:
        scores = classify(
            [request.text], truncation=True, max_length=trained.max_length
        )
        return {score["label"]: score["score"] for score in scores[0]}

    uvicorn.run(app, port=port, access_log=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

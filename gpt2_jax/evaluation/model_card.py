"""MODEL_CARD.md, in the form that Hugging Face's hub reads."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpt2_jax.data.checks import counted, shortened
from gpt2_jax.evaluation.report import Report
from gpt2_jax.evaluation.summary import (
    format_baselines,
    format_calibration,
    format_scores,
    subject,
)

# Of what may have been trained on: hub name and licence.
_BASES = {
    "124M": "openai-community/gpt2",
    "355M": "openai-community/gpt2-medium",
    "774M": "openai-community/gpt2-large",
    "1558M": "openai-community/gpt2-xl",
}

# Of the data sets that are known by name: the hub's id and language.
_DATA_IDS = {"sms-spam": "ucirvine/sms_spam", "imdb": "stanfordnlp/imdb"}
_LANGUAGES = dict.fromkeys(("demo", "sms-spam", "imdb"), "en")

_HUB_ID = re.compile(r"([\w.-]+/[\w.-]+)(@\S+)?", re.ASCII)

_DATA = {
    "demo": "part of gpt2-jax (Apache-2.0)",
    "sms-spam": "CC BY 4.0 (Almeida, Gómez Hidalgo, Yamakami: SMS Spam Collection v.1, "
    "doi:10.24432/C5CC84)",
    "imdb": "IMDb reviews, no licence stated (Maas et al., ACL 2011; "
    "https://ai.stanford.edu/~amaas/data/sentiment/)",
}


def write_model_card(report: Report) -> Path:
    """Write MODEL_CARD.md; where a licence is not known here, it says so."""
    path = report.workdir / "MODEL_CARD.md"
    path.write_text(
        f"---\n{_header(report)}---\n{_body(report)}",
        encoding="utf-8",
        errors="backslashreplace",
    )
    return path


def _header(report: Report) -> str:
    """Return the metadata as YAML; every value is written as JSON, which YAML is."""
    results = report.results
    weights, data, test = results["weights"], results["data"], results["test"]
    values = {"accuracy": results["accuracy"]["test"], **test}
    metrics = [
        {"type": kind, "value": round(values[key], 6), "name": f"test {name}"}
        for key, (kind, name) in _metrics(results).items()
        if values[key] is not None
    ]
    dataset = {
        "name": data["name"],
        "type": data["name"],
        "split": "test",
        "revision": data["sha256"],
    }
    task = {"type": "text-classification", "name": "Text Classification"}
    header: dict[str, Any] = {
        "license": _licence(weights)[0],
        "library_name": "gpt2-jax",
        "pipeline_tag": "text-classification",
        "tags": ["gpt2", "jax", "flax", "text-classification"],
        "model-index": [
            {
                "name": report.title,
                "results": [{"task": task, "dataset": dataset, "metrics": metrics}],
            }
        ],
    }
    known = {
        "language": _LANGUAGES.get(data["name"]),
        "base_model": base_model(weights),
        "datasets": [_DATA_IDS[data["name"]]] if data["name"] in _DATA_IDS else None,
        "metrics": list(dict.fromkeys(metric["type"] for metric in metrics)),
    }
    header |= {key: value for key, value in known.items() if value is not None}
    return "".join(
        f"{key}: {json.dumps(value, ensure_ascii=True)}\n"
        for key, value in header.items()
    )


def base_model(weights: str) -> str | None:
    """Return the hub's id of the weights that a run began with, if they are there.

    A run names its files by whole paths, so that what looks like an id is one.
    """
    found = _HUB_ID.fullmatch(weights)
    return _BASES.get(weights) or (None if found is None else found[1])


def _metrics(results: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return the hub's type of each metric, and a name that says whose it is."""
    of = subject(results["test"], results["data"]["classes"])
    return {
        "accuracy": ("accuracy", "accuracy"),
        "macro_f1": ("f1_macro", "macro-F1"),
        "weighted_f1": ("f1_weighted", "weighted F1"),
        "balanced_accuracy": ("balanced_accuracy", "balanced accuracy"),
        **{
            key: (key, f"{key} ({of})")
            for key in ("f1", "precision", "recall", "roc_auc")
        },
    }


def _licence(weights: str) -> tuple[str, str]:
    """Return the licence of the trained weights for the hub, and in words."""
    if weights in _BASES:
        return "mit", "the weights are OpenAI's (modified MIT licence)"
    if weights == "mini":
        return "apache-2.0", "gpt2-mini is part of gpt2-jax (Apache-2.0)"
    return "unknown", "that of the weights is not known here: state it"


def _body(report: Report) -> str:
    results = report.results
    data, test, accuracy = results["data"], results["test"], results["accuracy"]
    low, high = (100 * bound for bound in test["ci95"])
    licence = _DATA.get(data["name"], "not known here: state it")
    rows = "".join(
        f"| {_cell(name)} | {v['precision']:.4f} | {v['recall']:.4f} | {v['f1']:.4f} "
        f"| {v['n']} |\n"
        for name, v in test["per_class"].items()
    )
    counts = "".join(
        f"| {part} | {used} | {_cell(counted(data['class_counts'][part]))} |\n"
        for part, used in data["used"].items()
    )
    notes = "".join(f"- {_cell(note)}\n" for note in data["notes"])
    reached = "; ".join(format_baselines(results["baselines"])[:1])
    told = "".join(f"- {_cell(sentence)}\n" for sentence in report.story)
    return f"""# {_cell(report.title)}
A GPT-2 text classifier with the labels {_cell(shortened(data["classes"]))}, trained on
{results["device"]}: {_cell(report.made)}.

## Results
Test accuracy {100 * accuracy["test"]:.2f}% (95% interval {low:.1f} to {high:.1f}, n={
        test["n"]
    }); validation {100 * accuracy["validation"]:.2f}%, training {
        100 * accuracy["train"]:.2f}%.
Macro-F1 {test["macro_f1"]:.4f}, weighted F1 {test["weighted_f1"]:.4f}, balanced
accuracy {test["balanced_accuracy"]:.4f}; {_cell(subject(test, data["classes"]))}: {
        format_scores(test)
    }.
On the same texts, {_cell(reached)}.

{told}
| label | precision | recall | F1 | test texts |
|---|---|---|---|---|
{rows}
Brier score {test["brier"]:.4f}, ECE {test["ece"]:.4f}; {
        format_calibration(results["calibration"])
    }.

## Data
{_cell(data["name"])}, {data["rows"]} texts, SHA-256 `{data["sha256"]}`; split: {
        _cell(data["split"])
    }. Licence: {licence}.

| part | texts | labels |
|---|---|---|
{counts}
{data["dropped"]} texts were left out, {data["cut"]} were cut.
{notes}
## Training
Weights `{_cell(results["weights"])}`, of which {
        _cell(", ".join(report.config["train"]["trainable"]))
    } trained ({results["params"]["trainable"]:,} of {
        results["params"]["total"]:,} parameters), {results["steps"]} steps, seed {
        results["seed"]
    }. Licence: {_licence(results["weights"])[1]}.
```
{report.command}
```

## Intended use
To label texts like those that it was trained on and tested with: in the same language,
of the same kind and length, with one of its labels each. Language of the data: {
        {"en": "English"}.get(
            _LANGUAGES.get(data["name"], ""), "not known here: state it"
        )
    }. Nothing was done to make it fit for decisions about people.

## Use
```python
from gpt2_jax import Classifier

classifier = Classifier.load("path/of/this/run")
classifier.predict(["a text"])
classifier.predict_proba(["a text"])  # calibrated, columns as classifier.labels
```

## Limits
- It gives one of its labels to every text, also to one unlike all that it was trained
  on; its probabilities are calibrated for texts like those of the validation part only.
- GPT-2's vocabulary is mostly English, and its weights repeat what the web said, bias
  included.
- Within the interval above, two models cannot be told apart by this test part.
"""


def _cell(text: str) -> str:
    """Return `text` as plain text of one line of Markdown."""
    plain = " ".join(text.split())
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#" else c for c in plain)

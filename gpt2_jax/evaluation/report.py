"""report.html: one file about a run, without scripts, that needs nothing beside it."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpt2_jax.data.balance import BALANCED
from gpt2_jax.data.checks import counted, shortened
from gpt2_jax.evaluation.answers import answers
from gpt2_jax.evaluation.baselines import NAMES
from gpt2_jax.evaluation.markup import escape, number_cell, page, row, table
from gpt2_jax.evaluation.summary import format_lexical, subject

MAX_SHOWN = 600  # characters of a text

_WHEN = ("before", "after")

_FIGURES = {
    "loss": "Loss on a few batches of the training part and of validation.",
    "accuracy": "Accuracy after each epoch, on the same training batches and on all of "
    "validation.",
    "roc": "ROC on the test part; dotted: chance.",
    "precision_recall": "Precision and recall on the test part, by threshold.",
    "reliability": "Reliability on the test part: on the dotted line a probability "
    "means what it says; larger points hold more texts.",
    "lengths": "Lengths of all texts that were used.",
}


@dataclasses.dataclass(frozen=True)
class Report:
    """What report.html and MODEL_CARD.md tell."""

    results: Mapping[str, Any]  # results.json
    config: Mapping[str, Any]  # config.json
    texts: Sequence[str]  # of the test part
    figures: Mapping[str, str] | None  # SVG by name; {}: no matplotlib; None: not drawn
    workdir: Path

    @property
    def title(self) -> str:
        return f"{self.results['weights']} on {self.results['data']['name']}"

    @property
    def command(self) -> str:
        config = shlex.quote(str(self.workdir / "config.json"))
        return f"gpt2-jax finetune --config {config} --workdir NEW"


def write_report_html(report: Report) -> Path:
    """Write report.html; every text in it is shown as it is, and none is markup."""
    results, classes = report.results, report.results["data"]["classes"]
    sections = {
        "What was trained on what": _facts(report),
        "Training": _figures(report, "loss", "accuracy"),
        "Answers on the test part": answers(results["test"], classes),
        "Thresholds and probabilities": _figures(report, "roc", "precision_recall")
        + _calibration(report),
        "Texts": _figures(report, "lengths"),
        "The most confident errors": _errors(report),
        "Again": _again(report),
    }
    body = "".join(
        f"<section><h2>{title}</h2>\n{content}</section>\n"
        for title, content in sections.items()
        if content
    )
    content = page(report.title, f"{_headline(report)}{body}")
    path = report.workdir / "report.html"
    # Half an emoji, which JSON may hold, has no UTF-8.
    path.write_text(content, encoding="utf-8", errors="backslashreplace")
    return path


def _headline(report: Report) -> str:
    results, test = report.results, report.results["test"]
    low, high = (100 * bound for bound in test["ci95"])
    accuracy = results["accuracy"]["test"]
    bars = [
        ("this model", accuracy, True),
        *(
            (name, results["baselines"].get(key), False)
            for key, name in reversed(NAMES.items())
        ),
        ("this model before training", results["accuracy_before"], False),
    ]
    rows = "".join(_bar(*bar) for bar in bars)
    notes = "".join(f"<p>{escape(note)}</p>\n" for note in headline_notes(results))
    return (
        f"<h1>{escape(report.title)}</h1>\n"
        f'<p class="soft">A text classifier with the labels '
        f"{escape(shortened(results['data']['classes']))}.</p>\n"
        f'<p class="result">{100 * accuracy:.2f}%</p>\n'
        f"<p>of {test['n']} test texts are classified correctly; the 95% interval is "
        f"{low:.1f} to {high:.1f}%. Macro-F1 {test['macro_f1']:.4f}"
        f"{_baseline_f1(results['baselines'])}.</p>\n{notes}"
        f'<table class="bars"><caption>Accuracy on the test part</caption>'
        f"<tbody>{rows}</tbody></table>\n"
    )


def headline_notes(results: Mapping[str, Any]) -> list[str]:
    """Return what a reader of the numbers must know."""
    baselines = results["baselines"]
    notes = [baselines["verdict"]] if baselines.get("verdict") else []
    notes += format_lexical(results.get("lexical"))
    if results["data"].get("balanced"):
        notes.append(BALANCED)
    return [f"{note[0].upper()}{note[1:]}." for note in notes]


def _baseline_f1(baselines: Mapping[str, Any]) -> str:
    told = ", ".join(
        f"{NAMES[name]} {value:.4f}"
        for name, value in baselines["macro_f1"].items()
        if value is not None
    )
    return f" ({told})" if told else ""


def _bar(name: str, value: float | None, ours: bool) -> str:
    shown = "not measured" if value is None else f"{100 * value:.2f}%"
    kind = "bar ours" if ours else "bar"
    bar = f'<span class="{kind}" style="--share:{100 * (value or 0):.2f}%"></span>'
    return (
        f'<tr><th scope="row">{name}</th><td class="number">{shown}</td>'
        f"<td>{bar}</td></tr>\n"
    )


def _facts(report: Report) -> str:
    results, data = report.results, report.results["data"]
    train, params = report.config["train"], report.results["params"]
    facts = {
        "weights": f"{results['weights']}, {params['total']:,} parameters",
        "trained": f"{', '.join(train['trainable'])}: {params['trainable']:,} of them, "
        f"{results['steps']} steps of {train['batch_size']} texts",
        "pool": report.config["pool"],
        "data": f"{data['name']}, {data['rows']} texts, SHA-256 {data['sha256']}",
        "split": data["split"],
        **{
            f"{part} part": f"{count} texts: {counted(data['class_counts'][part])}"
            for part, count in data["used"].items()
        },
        "left out, cut": f"{data['dropped']} left out, {data['cut']} cut to the length "
        "that the model reads",
        **({"notes": "; ".join(data["notes"])} if data["notes"] else {}),
        "seed, device": f"{results['seed']}, {results['device']}, "
        f"{results['seconds']['total']:.1f} s",
        "versions": ", ".join(f"{k} {v}" for k, v in results["versions"].items()),
    }
    rows = (
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>\n'
        for name, value in facts.items()
    )
    return f'<table class="facts"><tbody>{"".join(rows)}</tbody></table>\n'


def _figures(report: Report, *names: str) -> str:
    if report.figures is None:
        return ""
    if not report.figures:
        missing = "<p>No figures: install gpt2-jax[report] for them.</p>\n"
        return missing if "loss" in names else ""
    drawn = "".join(_figure(name, report.figures[name]) for name in names)
    return f'<div class="figures">{drawn}</div>\n'


def _figure(name: str, svg: str) -> str:
    label = name.replace("_", " and ")
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{label}"')
    caption = escape(_FIGURES[name])
    return f"<figure>{svg}<figcaption>{caption}</figcaption></figure>\n"


def _calibration(report: Report) -> str:
    calibration, test = report.results["calibration"], report.results["test"]
    rows = [
        row(
            f"{part}: {name}",
            [
                number_cell(f"{calibration[part][f'{key}_{when}']:.4f}")
                for when in _WHEN
            ],
        )
        for part in ("validation", "test")
        for key, name in (("ece", "ECE"), ("loss", "loss (nats)"))
    ]
    caption = "Calibration, before and after"
    measured = table(["part", *_WHEN], rows, "calibration", caption)
    areas = ", ".join(
        f"{name} {'n/a' if test[key] is None else format(test[key], '.4f')}"
        for key, name in (("roc_auc", "ROC AUC"), ("pr_auc", "PR AUC"))
    )
    of = escape(subject(test, report.results["data"]["classes"]))
    words = (
        f"<p>{of}: {areas}; Brier score {test['brier']:.4f}. The temperature "
        f"{calibration['temperature']:.3f} was fitted on "
        f"{calibration['fitted_on']} validation texts, and divides the logits; it "
        "changes no label. On few texts the fit is rough.</p>\n"
    )
    figures = report.figures or {}
    figure = _figure("reliability", figures["reliability"]) if figures else ""
    return f'<div class="figures">{figure}<div>{words}{measured}</div></div>\n'


def _errors(report: Report) -> str:
    errors = report.results["test"]["errors"]
    wrong = report.results["test"]["n"] - sum(
        row[i] for i, row in enumerate(report.results["test"]["confusion"])
    )
    if not errors:
        return "<p>Every test text is classified correctly.</p>\n"
    rows = (_error(report, **error) for error in errors)
    head = ["text", "true", "answer", "probability"]
    caption = f"{len(errors)} of {wrong} errors, the most probable answers first"
    return table(head, rows, "errors", caption)


def _error(report: Report, row: int, label: str, predicted: str, prob: float) -> str:
    text = report.texts[row]
    cut = text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]} …"
    return (
        f'<tr><td class="text" dir="auto">{escape(cut)}</td><td>{escape(label)}</td>'
        f"<td>{escape(predicted)}</td>{number_cell(f'{prob:.3f}')}</tr>\n"
    )


def _again(report: Report) -> str:
    config = json.dumps(report.config, indent=2, ensure_ascii=False)
    return (
        "<p>This command repeats the run; on the same machine it gives the same "
        f"numbers.</p>\n<pre>{escape(report.command)}</pre>\n"
        f"<details><summary>config.json</summary><pre>{escape(config)}</pre></details>\n"
    )

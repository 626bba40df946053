"""report.html: one file about a run, without scripts, that needs nothing beside it."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpt2_jax.data.checks import counted, shortened
from gpt2_jax.evaluation.answers import answers
from gpt2_jax.evaluation.baselines import NAMES
from gpt2_jax.evaluation.error_list import error_list
from gpt2_jax.evaluation.markup import escape, number_cell, page, row, table
from gpt2_jax.evaluation.story import story
from gpt2_jax.evaluation.summary import format_pace, subject
from gpt2_jax.evaluation.thresholds import thresholds

_WHEN = ("before", "after")

_FIGURES = {
    "loss": "Loss on a few batches of the training and of the validation part, and "
    "after each epoch on all of the validation part.",
    "accuracy": "Accuracy after each epoch, on the same training batches and on all of "
    "validation.",
    "roc": "ROC on the test part; dotted: chance.",
    "precision_recall": "Precision and recall on the test part, by threshold.",
    "reliability": "Reliability on the test part: on the dotted line a probability "
    "means what it says; larger points hold more texts.",
    "learning_rate": "Learning rate, by epoch.",
    "scores": "Probabilities that the test texts got, by their true label (with many "
    "labels: of right and of wrong answers).",
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
    history: Sequence[Mapping[str, Any]] = ()  # metrics.jsonl
    curves: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # curves.json

    @property
    def story(self) -> list[str]:
        """What the numbers say, in sentences."""
        return story(self.results, self.config, self.history)

    @property
    def made(self) -> str:
        """Which run it was, when, and by which version; old runs do not know all."""
        results = self.results
        name, date = results.get("run") or self.workdir.name, results.get("date")
        day = f", {date[:10]} {date[11:16]}" if date else ""
        return f"run {name}{day}, gpt2-jax {results['versions']['gpt2-jax']}"

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
        "What the numbers say": _story(report),
        "Model and data": _facts(report),
        "Training": _figures(report, "loss", "accuracy", "learning_rate"),
        "Answers on the test part": answers(results["test"], classes),
        "Thresholds": _figures(report, "roc", "precision_recall", "scores")
        + thresholds(report.curves.get("thresholds")),
        "Probabilities": _calibration(report),
        "Errors": error_list(results["test"], report.texts),
        "Lengths of the texts": _figures(report, "lengths"),
        "Repeat this run": _again(report),
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
    return (
        f"<h1>{escape(report.title)}</h1>\n"
        f'<p class="soft">{escape(report.made[0].upper() + report.made[1:])}</p>\n'
        f'<p class="soft">A text classifier with the labels '
        f"{escape(shortened(results['data']['classes']))}.</p>\n"
        f'<p class="result">{100 * accuracy:.2f}%</p>\n'
        f"<p>of {test['n']} test texts are classified correctly; the 95% interval is "
        f"{low:.1f} to {high:.1f}%. Macro-F1 {test['macro_f1']:.4f}"
        f"{_baseline_f1(results['baselines'])}.</p>\n"
        f'<table class="bars"><caption>Accuracy on the test part</caption>'
        f"<tbody>{rows}</tbody></table>\n"
    )


def _story(report: Report) -> str:
    items = "".join(f"<li>{escape(sentence)}</li>\n" for sentence in report.story)
    return f'<ul class="story">\n{items}</ul>\n'


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
        **dict(line.split(": ", 1) for line in format_pace(results.get("pace"))),
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
    drawn = "".join(
        _figure(name, report.figures[name]) for name in names if name in report.figures
    )
    return f'<div class="figures">{drawn}</div>\n'


def _figure(name: str, svg: str) -> str:
    label = escape(_FIGURES[name].split(".")[0].split(":")[0])
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
    of = f"{of[0].upper()}{of[1:]}"
    words = (
        f"<p>{of}: {areas}; Brier score {test['brier']:.4f}. The temperature "
        f"{calibration['temperature']:.3f} was fitted on "
        f"{calibration['fitted_on']} validation texts, and divides the logits; it "
        "changes no label. On few texts the fit is rough.</p>\n"
    )
    figures = report.figures or {}
    figure = _figure("reliability", figures["reliability"]) if figures else ""
    return f'<div class="figures">{figure}<div>{words}{measured}</div></div>\n'


def _again(report: Report) -> str:
    config = json.dumps(report.config, indent=2, ensure_ascii=False)
    return (
        "<p>This command repeats the run; on the same machine it gives the same "
        f"numbers.</p>\n<pre>{escape(report.command)}</pre>\n"
        f"<details><summary>config.json</summary><pre>{escape(config)}</pre></details>\n"
    )

"""The report: pictures, one HTML file, a model card, and tables that line up."""

from __future__ import annotations

import importlib.resources
import json
import re
import sys

import pytest
from report_helpers import (
    CONFIG,
    HISTORY,
    SCRIPT,
    Tags,
    make_report,
    report_curves,
    report_results,
)

from gpt2_jax.config import GPT2Config
from gpt2_jax.evaluation.figures import draw_figures, write_pictures
from gpt2_jax.evaluation.model_card import write_model_card
from gpt2_jax.evaluation.report import Report, write_report_html
from gpt2_jax.evaluation.summary import format_results, format_test
from gpt2_jax.evaluation.svg import COLORS, INK
from gpt2_jax.export import hugging_face
from gpt2_jax.weights.trained import TrainedModel

hub = pytest.importorskip("huggingface_hub")  # its cards have attributes of no type


@pytest.fixture(scope="module")
def figures() -> dict[str, str]:
    pytest.importorskip("matplotlib")
    return draw_figures(HISTORY, report_results(), report_curves())


def test_pictures_are_png_and_svg_files_with_a_title(tmp_path):
    pytest.importorskip("matplotlib")
    paths = write_pictures(tmp_path, HISTORY, report_results())
    assert [path.name for path in paths] == [
        f"{name}.{kind}"
        for name in ("loss", "accuracy", "confusion")
        for kind in ("png", "svg")
    ]
    for png, svg in zip(paths[::2], paths[1::2], strict=True):
        assert png.read_bytes().startswith(b"\x89PNG\r\n")
        assert ": mini on texts.csv" in Tags(svg.read_text()).text


@pytest.mark.parametrize("name", ["$x^$", "50% $ off $\\frac", SCRIPT])
def test_class_names_are_neither_formulas_nor_markup(tmp_path, name):
    pytest.importorskip("matplotlib")
    assert len(write_pictures(tmp_path, HISTORY, report_results(("ham", name)))) == 6
    drawn = draw_figures(HISTORY, report_results(), report_curves((name,)))
    assert "<script" not in drawn["roc"]
    assert Tags(drawn["roc"]).text.count(name[:23]) == 1


def test_figures_take_their_colours_from_the_page(figures):
    assert list(figures) == [
        "loss",
        "accuracy",
        "learning_rate",
        "roc",
        "precision_recall",
        "reliability",
        "scores",
        "lengths",
    ]
    for name, svg in figures.items():
        assert not re.search("|".join((*COLORS, INK)), svg), name
        assert "var(--ink)" in svg and "var(--series-1)" in svg, name
    for words in ("epoch", "examples seen", "cross-entropy (nats)", "validation"):
        assert words in figures["loss"]


def test_no_two_elements_have_one_id(figures, tmp_path):
    page = write_report_html(make_report(tmp_path, figures=figures)).read_text()
    ids = re.findall(r' id="([^"]*)"', page)
    assert ids and len(set(ids)) == len(ids)


def test_without_matplotlib_there_are_no_figures_but_a_report(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert write_pictures(tmp_path, HISTORY, report_results()) == []
    drawn = draw_figures(HISTORY, report_results(), report_curves())
    assert drawn == {}
    page = write_report_html(make_report(tmp_path, figures=drawn)).read_text()
    assert "gpt2-jax[report]" in page
    assert "0.0567" in page


def test_a_report_needs_nothing_beside_it_and_tells_every_result(figures, tmp_path):
    page = write_report_html(make_report(tmp_path, figures=figures)).read_text()
    linked = set(re.findall(r"""(?:src|href)=["']([^#"'][^"']*)""", page))
    assert linked == {"predictions.csv"}
    assert not re.search(r"url\((?!#)|@import", page)
    urls = set(re.findall(r'https?://[^"\s<]+', page))
    assert all(url.startswith("http://www.w3.org/") for url in urls)
    assert page.count("<svg") == len(figures)
    text = Tags(page).text
    for value in (
        "75.00%",  # the test accuracy
        "60.0 to 85.0%",
        "70.00%",  # the baselines
        "50.00%",
        "ab12",  # the data
        "3 of 40 test texts stand in the train part too",
        "0.1234",  # calibration, before and after
        "0.0567",
        "1.500",
        "0.650",  # by label
        "0.987",  # an error
        f"gpt2-jax finetune --config {tmp_path / 'config.json'} --workdir NEW",
        json.dumps(CONFIG, indent=2),
    ):
        assert value in text, value


def test_a_report_shows_markup_in_names_and_texts_as_text(figures, tmp_path):
    results = report_results((SCRIPT, '"&<b>'))
    results["data"]["name"] = "</title><script>.csv"
    results["data"]["notes"] = [SCRIPT]
    report = make_report(tmp_path, results, figures)
    parsed = Tags(write_report_html(report).read_text())
    assert not {"script", "b", "img"} & set(parsed.tags)
    assert parsed.text.count(SCRIPT) >= 4
    assert "the error: " + SCRIPT in parsed.text
    assert "</title><script>.csv" in parsed.text


def test_half_an_emoji_does_not_stop_the_report(tmp_path):
    report = Report(report_results(), CONFIG, ["", "half \ud83d"], {}, tmp_path)
    assert "half \\ud83d" in write_report_html(report).read_text()
    write_model_card(report)


def test_the_model_card_is_one_that_the_hub_reads(tmp_path):
    card = hub.ModelCard.load(write_model_card(make_report(tmp_path)))
    results = {r.metric_type: r.metric_value for r in card.data.eval_results}
    assert results["accuracy"] == 0.75
    assert results["f1"] == 0.65
    (first, *_) = card.data.eval_results
    assert first.dataset_revision == "ab12" and first.dataset_split == "test"
    assert card.data.license == "apache-2.0"
    assert card.data.language is None and card.data.datasets is None  # not known
    assert {"accuracy", "f1"} <= set(card.data.metrics)
    for words in ("Limits", "30 validation texts", "Licence: not known", "texts.csv"):
        assert words in card.content
    assert "Language of the data: not known here: state it" in card.content


def _with_data(name):
    results = report_results()
    return {**results, "data": {**results["data"], "name": name}}


@pytest.mark.parametrize(
    ("name", "weights", "language", "datasets", "base"),
    [
        (
            "sms-spam",
            "355M",
            "en",
            ["ucirvine/sms_spam"],
            "openai-community/gpt2-medium",
        ),
        ("imdb", "own/model@v2", "en", ["stanfordnlp/imdb"], "own/model"),
        ("demo", "mini", "en", None, None),
        ("mails.csv", "/own/model", None, None, None),
    ],
)
def test_the_card_says_what_is_known_of_data_and_base(
    tmp_path, name, weights, language, datasets, base
):
    results = {**_with_data(name), "weights": weights}
    data = hub.ModelCard.load(write_model_card(make_report(tmp_path, results))).data
    assert (data.language, data.datasets) == (language, datasets)
    assert data.base_model == base


def test_the_readme_of_an_export_is_the_card_with_another_use(tmp_path):
    own = write_model_card(make_report(tmp_path)).read_text()
    trained = TrainedModel(GPT2Config(num_classes=2), {}, ("ham", "spam"), 20)
    text = hugging_face.readme(trained, own)
    card, before = hub.ModelCard(text), hub.ModelCard(own)
    assert card.data.library_name == "transformers"
    assert card.data.to_dict() == {
        **before.data.to_dict(),
        "library_name": "transformers",
    }
    assert text.count("## Use\n") == 1 and "from transformers import pipeline" in text
    assert "Classifier.load" not in text
    for words in ("## Results", "## Data", "## Intended use", "## Limits"):
        assert words in text
    alone = hub.ModelCard(hugging_face.readme(trained, None))
    assert alone.data.pipeline_tag == "text-classification"


@pytest.mark.parametrize(
    ("weights", "licence"), [("124M", "mit"), ("my/weights.pth", "unknown")]
)
def test_the_licence_is_that_of_the_weights_where_it_is_known(
    weights, licence, tmp_path
):
    report = make_report(tmp_path, {**report_results(), "weights": weights})
    text = write_model_card(report).read_text()
    assert f'license: "{licence}"' in text
    assert ("openai-community/gpt2" in text) == (weights == "124M")


@pytest.mark.parametrize("classes", [("ham", "spam"), ("a", "b", "c" * 30)])
def test_the_columns_of_the_confusion_matrix_stand_below_their_names(classes):
    results = report_results(classes)
    header, *rows = format_test(results["test"], classes)[2:]
    ends = [header.index(f" {name}") + 1 + len(name) for name in classes]
    for row, counts in zip(rows, results["test"]["confusion"], strict=True):
        for end, count in zip(ends, counts, strict=True):
            assert row[:end].endswith(f" {count}"), f"{header}\n{row}"


def test_results_tell_the_calibration_and_what_could_not_be_measured():
    results = report_results()
    results["test"]["roc_auc"] = None
    text = "\n".join(format_results(results))
    assert "ROC AUC n/a" in text
    assert "test ECE 0.1234 before, 0.0567 after" in text


def test_figures_are_named_by_what_they_show(figures, tmp_path):
    page = write_report_html(make_report(tmp_path, report_results(), figures))
    names = re.findall('<svg role="img" aria-label="([^"]*)"', page.read_text())
    assert "Learning rate, by epoch" in names
    assert "Precision and recall on the test part, by threshold" in names
    assert len(set(names)) == len(names) >= 6


@pytest.mark.slow
@pytest.mark.parametrize("width", [1100, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation(scheme, width, figures, tmp_path, browser):
    axe = pytest.importorskip("axe_playwright_python", reason="axe is missing")
    source = (importlib.resources.files(axe) / "axe.min.js").read_text("utf-8")
    report = make_report(tmp_path, report_results(("ham", "s" * 60)), figures)
    path = write_report_html(report)
    viewport = {"width": width, "height": 800}
    page = browser.new_page(color_scheme=scheme, viewport=viewport, bypass_csp=True)
    page.goto(path.as_uri())
    page.evaluate(source)
    found = page.evaluate("axe.run()")
    assert found["passes"]
    assert [v["id"] for v in found["violations"]] == []
    overflows = "document.documentElement.scrollWidth > window.innerWidth"
    assert not page.evaluate(overflows)
    page.close()

"""What the studies are made of: their texts, their baselines, their settings."""

from __future__ import annotations

import argparse
import dataclasses

import numpy as np
import pytest

pytest.importorskip("sklearn")

from experiments import baselines
from experiments.adaptation import field
from experiments.adaptation import run as adaptation
from experiments.calibration import run as calibration
from experiments.cut.run import STUDY as CUT
from experiments.cut.run import patterns
from experiments.head_tuning import run as head_tuning
from experiments.imdb import run as imdb
from experiments.learning_curve import run as learning_curve
from experiments.learning_rate.run import STUDY as LEARNING_RATE
from experiments.parts import take_share, write_parts
from experiments.prevalence import run as prevalence
from experiments.robustness import run as robustness
from experiments.study.runs import folder_of
from gpt2_jax.config import PRESETS, DataConfig, FinetuneConfig
from gpt2_jax.data.sources import load_dataset, load_texts
from gpt2_jax.data.split import split_dataset
from gpt2_jax.engine.param_labels import label_params, trunk_depth
from gpt2_jax.model.gpt2 import param_shapes
from gpt2_jax.tokenizer import encode
from gpt2_jax.training import adapt_first
from gpt2_jax.training.adapt import Adapted
from gpt2_jax.weights.pretrained import load_pretrained

NAMES = list(baselines.NAMES.values())


def test_parts_that_are_written_are_the_parts_that_are_read(tmp_path):
    data = DataConfig()  # demo
    dataset = load_dataset(data)
    parts = split_dataset(dataset, data).parts()
    own = write_parts(tmp_path / "own.csv", dataset, parts)
    again = load_dataset(own)
    for part, rows in split_dataset(again, own).parts().items():
        got = [(again.texts[row], again.classes[again.labels[row]]) for row in rows]
        assert got == [
            (dataset.texts[row], dataset.classes[dataset.labels[row]])
            for row in parts[part]
        ]


def test_a_larger_share_holds_the_smaller_and_both_keep_the_balance():
    labels = np.asarray([0, 1, 1] * 40)
    rows = np.arange(120)[::-1]
    small, large = (take_share(rows, labels, share) for share in (0.1, 0.5))
    assert set(small) < set(large) < set(rows)
    for taken, size in ((small, 12), (large, 60)):
        assert len(taken) == size and labels[taken].mean() == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    "fit",
    [
        baselines.fit_char_tfidf,
        baselines.fit_word_tfidf,
        baselines.fit_fasttext,
    ],
)
def test_a_baseline_learns_which_words_are_of_which_class(fit):
    random = np.random.default_rng(0)
    words = [["lunch", "home", "see you"], ["prize", "win", "free"]]
    labels = random.integers(0, 2, 200)
    texts = [
        f"{i} {words[label][random.integers(3)]} {random.integers(99)}"
        for i, label in enumerate(labels)
    ]
    predict = fit(texts[:150], labels[:150])
    assert (np.asarray(predict(texts[150:])) == labels[150:]).mean() > 0.95


def test_all_baselines_learn_from_the_training_part(monkeypatch):
    monkeypatch.setattr(
        baselines, "fit_fasttext", lambda *_, **__: lambda x: np.zeros(len(x))
    )
    numbers = baselines.accuracies(FinetuneConfig(), seed=0)  # demo
    assert list(numbers) == list(baselines.NAMES.values())
    (_, labels), (_, expected) = (
        baselines.parts_of(FinetuneConfig())[part] for part in ("train", "test")
    )
    majority = 100 * (expected == np.bincount(labels).argmax()).mean()
    assert numbers[baselines.NAMES["majority"]] == {"test": pytest.approx(majority)}
    assert numbers[baselines.NAMES["tfidf"]]["test"] > majority + 20


def test_what_stands_beside_a_study_has_its_numbers(monkeypatch):
    test, expected = baselines.parts_of(FinetuneConfig())["test"]

    def shouts(texts):
        return np.asarray([text.isupper() or "£" in text for text in texts], int)

    monkeypatch.setattr(baselines, "fit_all", lambda *_, **__: {"shouts": shouts})
    share, spam = 100 * expected.mean(), shouts(test) @ expected
    changed = robustness.beside(FinetuneConfig(), 0)["shouts"]
    assert changed["upper"] == pytest.approx(share)  # all are called spam
    assert changed["test"] == changed["lower"] > 50
    of_spam = prevalence.beside(FinetuneConfig(), 0)["shouts"]
    assert changed["test"] == of_spam["test"]
    assert of_spam["spam_recall"] == pytest.approx(100 * spam / expected.sum())
    assert of_spam["spam_precision"] == pytest.approx(100 * spam / shouts(test).sum())


@pytest.mark.slow
def test_weights_of_classes_find_more_of_the_rare_one():
    random = np.random.default_rng(0)
    labels = np.asarray([0] * 180 + [1] * 20)
    prize = random.random(200) < np.where(labels, 0.5, 0.1)
    texts = [f"word{i % 7} {'prize' if prize[i] else ''}" for i in range(200)]
    for fit in (baselines.fit_char_tfidf, baselines.fit_fasttext):
        plain, balanced = (fit(texts, labels, balanced=b)(texts) for b in (False, True))
        assert np.sum(balanced == 1) > np.sum(plain == 1), fit.__name__


def test_long_texts_keep_all_their_words_and_pairs():
    words = [f"w{i}" for i in range(400)]
    (bag, short) = baselines._bags([" ".join(words), "w0 w1"])
    assert np.count_nonzero(bag) == 799 and np.count_nonzero(short) == 3
    assert set(short) - {0} <= set(bag)


def test_the_head_tuning_table_has_the_books_19_rows():
    settings = {row.key: row for row in head_tuning.rows("mini", {})}
    assert {key.rstrip("b") for key in settings} == {str(k) for k in range(1, 20)}
    alike = [{"1", "18"}]  # all else are different runs
    folders = {key: folder_of(row.config) for key, row in settings.items()}
    for key, folder in folders.items():
        same = {k for k, other in folders.items() if other == folder}
        assert same == {key} or same in alike
    # The book counts an adapter alpha times, here it is alpha / rank times.
    for key, alpha in (("11b", 16), ("12b", 8)):
        train = settings[key].config.train
        assert train.lora_alpha / train.lora_rank == alpha and settings[key].note
    assert not settings["10"].needs
    of_path = {row.key: row for row in head_tuning.rows("some/folder", {})}
    assert of_path["10"].needs  # random weights have no path; all others run
    ran = {key for key, row in of_path.items() if not row.needs}
    assert ran == {key for key, row in settings.items() if not row.needs} - {"10"}


@pytest.mark.slow
def test_calibration_has_the_error_of_what_gives_probabilities(monkeypatch):
    monkeypatch.setattr(baselines, "accuracies", lambda *_: {n: {} for n in NAMES})
    numbers = calibration.beside(FinetuneConfig(), 0)  # demo
    assert all(0 < numbers[name]["ece_before"] < 25 for name in NAMES[:2])
    assert not any("ece_before" in numbers[name] for name in NAMES[2:])


def test_baselines_of_imdb_read_what_the_model_reads_and_all_of_it(monkeypatch):
    read = []

    def fit_all(texts, labels, *, seed):
        read.append(max(len(encode(text)) for text in texts))
        return {name: lambda texts: np.zeros(len(texts)) for name in NAMES}

    monkeypatch.setattr(baselines, "fit_all", fit_all)
    numbers = imdb.beside(FinetuneConfig(max_length=5), 0)  # demo
    assert read[0] == 5 < read[1]
    whole = [f"{name}, whole reviews" for name in NAMES[:-1]]  # one majority is enough
    assert list(numbers) == [*NAMES, *whole]


def test_texts_are_changed_as_they_say():
    changed = {
        name: change("Win a prize") for name, (_, change) in robustness.CHANGES.items()
    }
    assert changed == {
        "upper": "WIN A PRIZE",
        "lower": "win a prize",
        "spaces": "Win  a  prize",
        "spelled": "W i n a prize",
        "leet": "W1n 4 pr1z3",
    }


@pytest.mark.parametrize("cut", [0, 6, 11, 12])
def test_below_the_cut_nothing_trains(cut):
    config = dataclasses.replace(PRESETS["mini"], num_classes=2)
    labels = label_params(param_shapes(config), patterns(cut), 12)
    assert labels["wte"]["embedding"] == "freeze"
    assert trunk_depth(labels, 12) == cut


def test_the_settings_of_a_study_are_different_runs(tmp_path, monkeypatch):
    arguments = argparse.Namespace(workdir=tmp_path)
    monkeypatch.setattr(
        learning_curve, "load_dataset", lambda _: load_dataset(DataConfig())
    )
    monkeypatch.setattr(
        prevalence, "load_dataset", lambda _: load_dataset(DataConfig())
    )
    built = [module.build(arguments) for module in (learning_curve, prevalence)]
    for study in (calibration.STUDY, CUT, LEARNING_RATE, robustness.STUDY, *built):
        runs = {folder_of(setting.config) for setting in study.settings}
        assert len(runs) == len(study.settings) > 2
        assert {metric for plot in study.plots for metric in plot} <= set(study.metrics)
    curve = built[0]
    sizes = [setting.x for setting in curve.settings]
    assert sizes == sorted(sizes)
    steps = [
        setting.config.train.epochs * (int(setting.x) // 8)
        for setting in curve.settings
    ]
    assert max(steps) < 1.5 * min(steps)


def test_no_text_that_the_base_model_reads_validates_or_tests():
    data = DataConfig()
    own = load_dataset(data)  # demo
    train, validation, test = (
        {own.texts[row] for row in rows}
        for rows in split_dataset(own, data).parts().values()
    )
    more = dataclasses.replace(own, texts=(*own.texts, "one more"))
    part = adaptation.Base("part", ("demo",), everything=False)
    everything = adaptation.Base("everything", ("demo",))
    of_part, of_all, in_other_order = (
        adaptation.texts_of(base, {"demo": own}, more)
        for base in (part, everything, dataclasses.replace(everything, seed=1))
    )
    assert set(of_part) == train - validation - test
    assert set(of_all) == (train | {"one more"}) - validation - test
    assert of_all == adaptation.texts_of(everything, {"demo": own}, more)
    assert of_all != in_other_order and sorted(of_all) == sorted(in_other_order)


@pytest.mark.slow
def test_a_base_model_is_adapted_once(tmp_path, monkeypatch):
    monkeypatch.setattr(adaptation, "LENGTH", 16)
    monkeypatch.setattr(adaptation, "BATCH", 8)  # one for each device
    base = adaptation.Base("part", ("demo",), everything=False, epochs=1)
    texts = list(load_dataset(DataConfig()).texts[:40])
    weights = adaptation.adapt("part", base, texts, tmp_path)
    config, params = load_pretrained(weights)
    assert config == load_pretrained("mini")[0]
    before = load_pretrained("mini")[1]["ln_f"]["scale"]
    assert np.any(params["ln_f"]["scale"] != before)
    monkeypatch.setattr(adaptation, "train", None)  # nothing is left to be trained
    assert adaptation.adapt("part", base, texts, tmp_path) == weights
    with pytest.raises(ValueError, match="other texts; move"):
        adaptation.adapt("part", base, texts[1:], tmp_path)


def test_what_is_read_before_fine_tuning_validates_and_tests_nothing(
    tmp_path, monkeypatch
):
    path = tmp_path / "set" / "train.csv"
    path.parent.mkdir()
    rows = [f"a text about {i},{'ab'[i % 2]}" for i in range(60)]
    path.write_text("\n".join(["text,label", *rows]) + "\n", "utf-8")
    path.with_name("test.csv").write_text("text,label\nof another part,a\n", "utf-8")
    read = []

    def adapt(config, run, *, resume, **how):
        table, _ = load_texts(config.data)
        read.extend(table.texts)
        return Adapted(run / "weights", 1, 1, 2.0, 1.0)

    monkeypatch.setattr(adapt_first, "adapt", adapt)
    arguments = argparse.Namespace(folders=[path.parent], workdir=tmp_path / "work")
    shipped, adapted = field.build(arguments).settings
    dataset = load_dataset(shipped.config.data)
    train = split_dataset(dataset, shipped.config.data).parts()["train"]
    assert sorted(read) == sorted(dataset.texts[row] for row in train)
    assert shipped.config == dataclasses.replace(adapted.config, weights="mini")

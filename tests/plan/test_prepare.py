"""From a config to a task: what every way of balancing keeps, and what it weighs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from training_helpers import run_config, write_texts

from gpt2_jax.config import BALANCES, DataConfig
from gpt2_jax.engine.texts import READ
from gpt2_jax.plan.prepare import prepare
from gpt2_jax.plan.task import Task
from gpt2_jax.workdir.memo import Memo


@pytest.fixture(scope="module")
def uneven(tmp_path_factory) -> Path:
    """Texts of two classes, one five times as frequent as the other."""
    path = write_texts(tmp_path_factory.mktemp("uneven") / "texts.csv", num=120)
    header, *rows = path.read_text().splitlines()
    few = [row for i, row in enumerate(rows) if i % 2 == 0 or i % 10 == 1]
    path.write_text("\n".join([header, *few]) + "\n")
    return path


def _task(factory: pytest.TempPathFactory, path: Path, balance: str) -> Task:
    config = run_config(factory)
    data = dataclasses.replace(config.data, source=str(path), balance=balance)
    return prepare(dataclasses.replace(config, data=data))


@pytest.mark.parametrize("balance", BALANCES)
def test_texts_are_left_out_only_to_balance_them(balance, uneven, tmp_path_factory):
    task = _task(tmp_path_factory, uneven, balance)
    counts = np.bincount(task.labels("train"))
    assert len(task.texts) + task.split.dropped == len(task.dataset.texts)
    if balance == "undersample":
        assert task.split.dropped > 0 and counts[0] == counts[1]
    else:
        assert task.split.dropped == 0 and counts[0] == pytest.approx(5 * counts[1], 1)


@pytest.mark.parametrize("balance", BALANCES)
def test_classes_weigh_the_same_unless_nothing_is_balanced(
    balance, uneven, tmp_path_factory
):
    task = _task(tmp_path_factory, uneven, balance)
    rows = task.texts.parts["train"]
    weight = np.bincount(task.texts.labels[rows], task.texts.loss_weights[rows])
    assert (weight[0] == pytest.approx(weight[1], rel=1e-6)) == (balance != "none")
    assert weight.sum() == pytest.approx(len(rows), rel=1e-6)


@pytest.mark.parametrize("preset", ["default", "book"])
def test_the_rows_of_a_part_are_its_texts_in_its_order(
    preset, uneven, tmp_path_factory
):
    config = run_config(tmp_path_factory)
    data = dataclasses.replace(config.data, source=str(uneven))
    if preset == "book":  # in the order that it was shuffled
        data = dataclasses.replace(data, book=True, group=False, balance="undersample")
    task = prepare(dataclasses.replace(config, data=data))
    for part, rows in task.texts.parts.items():
        expected = [task.tokenizer.encode(text) for text in task.texts_of(part)]
        assert [task.texts.tokens_of(row).tolist() for row in rows] == expected
        labels = np.asarray(task.dataset.labels)[task.split.parts()[part]]
        np.testing.assert_array_equal(task.labels(part), labels)


def test_the_texts_lie_alike_whatever_the_test_part_is(uneven, tmp_path_factory):
    config, memo, found = run_config(tmp_path_factory), Memo(), []
    for fold in (0, 1):
        data = dataclasses.replace(config.data, source=str(uneven), folds=3, fold=fold)
        found.append(prepare(dataclasses.replace(config, data=data), memo=memo))
    one, other = found
    assert one.texts.fingerprint(*READ) == other.texts.fingerprint(*READ)
    assert set(one.split.test) != set(other.split.test)
    assert memo.made["texts"] == memo.made["weights"] == memo.made["tokens"] == 1


def test_rows_in_memory_are_read_anew_and_changed_ones_are_encoded_anew(
    tmp_path_factory,
):
    """A list may be changed in place, and its `id` belongs to another one later."""
    config, memo = run_config(tmp_path_factory), Memo()
    config = dataclasses.replace(config, data=DataConfig(source="memory"))
    texts = [f"text number {i}" for i in range(60)]
    labels = ["ham", "spam"] * 30
    before = prepare(config, rows=(texts, labels), memo=memo)
    rows = (texts, labels)
    prepare(config, rows=rows, memo=memo)
    texts[:] = [f"{text}, and what was added to it" for text in texts]
    after = prepare(config, rows=rows, memo=memo)
    assert set(after.dataset.texts) == set(texts)
    assert after.dataset.sha256 != before.dataset.sha256
    assert after.num_tokens.min() > before.num_tokens.max()

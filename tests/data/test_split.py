import dataclasses
import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gpt2_jax.config import FINETUNE_PRESETS, DataConfig
from gpt2_jax.data.balance import BALANCED
from gpt2_jax.data.dataset import Dataset
from gpt2_jax.data.sample import share_out, undersample
from gpt2_jax.data.sources import load_dataset
from gpt2_jax.data.split import split_dataset
from gpt2_jax.data.too_few import fill_no_batch
from gpt2_jax.errors import DataError

# The book's parts, from its own create_balanced_dataset and random_split under pandas:
# SHA-256 of the row numbers (int64, little-endian) and of the texts joined by NUL.
BOOK = json.loads((Path(__file__).parents[1] / "golden/book_split.json").read_text())


def dataset(labels, groups=None, texts=None):
    texts = texts or [f"text {i}" for i in range(len(labels))]
    classes = tuple(sorted({f"c{label}" for label in labels}))
    return Dataset("d", "", tuple(texts), tuple(labels), classes, groups, ())


def whole(split):
    return np.concatenate(list(split.parts().values())).tolist()


@pytest.mark.parametrize("part", BOOK)
def test_the_books_rows_are_the_books(sms_path, monkeypatch, part):
    monkeypatch.setenv("GPT2_JAX_DATA", str(sms_path.parent))
    config = FINETUNE_PRESETS["book"].data
    data = load_dataset(config)
    rows = split_dataset(data, config).parts()[part]
    expected = BOOK[part]
    assert len(rows) == expected["rows"]
    assert sum(data.labels[row] for row in rows) == expected["spam"]
    ids = hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()
    assert ids == expected["ids_sha256"]
    texts = "\0".join(data.texts[row] for row in rows)
    assert hashlib.sha256(texts.encode()).hexdigest() == expected["texts_sha256"]


def test_the_books_functions_give_these_rows(sms_path, monkeypatch):
    """create_balanced_dataset and random_split of gpt_class_finetune.py, in pandas."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_csv(sms_path, sep="\t", header=None, names=["Label", "Text"])
    spam = frame[frame["Label"] == "spam"]
    ham = frame[frame["Label"] == "ham"].sample(len(spam), random_state=123)
    balanced = pandas.concat([ham, spam]).sample(frac=1, random_state=123)
    train_end = int(len(balanced) * 0.7)
    validation_end = train_end + int(len(balanced) * 0.1)
    monkeypatch.setenv("GPT2_JAX_DATA", str(sms_path.parent))
    config = FINETUNE_PRESETS["book"].data
    split = split_dataset(load_dataset(config), config)
    rows = balanced.index.to_numpy()
    np.testing.assert_array_equal(split.train, rows[:train_end])
    np.testing.assert_array_equal(split.validation, rows[train_end:validation_end])
    np.testing.assert_array_equal(split.test, rows[validation_end:])


def test_the_additional_experiments_test_other_texts(sms_path, monkeypatch):
    monkeypatch.setenv("GPT2_JAX_DATA", str(sms_path.parent))
    config = FINETUNE_PRESETS["book"].data
    data = load_dataset(config)
    chapter = split_dataset(data, config)
    other = split_dataset(data, dataclasses.replace(config, book_split="additional"))
    assert sorted(whole(other)) == sorted(whole(chapter))
    spam = [sum(data.labels[row] for row in part) for part in other.parts().values()]
    assert spam == [515, 73, 159]  # as create_dataset_csvs gives under pandas
    tested = [{data.texts[row] for row in parts.test} for parts in (chapter, other)]
    assert len(tested[0] & tested[1]) == 66


def test_unseen_leaves_out_what_stands_in_train_and_nothing_else(sms_path, monkeypatch):
    monkeypatch.setenv("GPT2_JAX_DATA", str(sms_path.parent))
    config = FINETUNE_PRESETS["book"].data
    data = load_dataset(config)
    whole_parts = split_dataset(data, config).parts()
    unseen = split_dataset(data, dataclasses.replace(config, unseen=True))
    trained = {data.texts[row] for row in unseen.train}
    for name, rows in unseen.parts().items():
        kept = [
            row
            for row in whole_parts[name]
            if name == "train" or data.texts[row] not in trained
        ]
        assert rows.tolist() == kept
    assert (len(unseen.validation), len(unseen.test)) == (149 - 13, 300 - 37)
    assert unseen.dropped == len(data.labels) - sum(map(len, unseen.parts().values()))


def test_the_books_sampling_is_refused_on_other_data():
    config = DataConfig(book=True)
    for labels in ([0, 1, 2] * 9, [0] * 5 + [1] * 9):
        with pytest.raises(DataError, match="needs two classes"):
            split_dataset(dataset(labels), config)


@pytest.mark.parametrize("balance", ["none", "weights", "undersample"])
@pytest.mark.parametrize("group", [True, False])
@pytest.mark.parametrize(
    "shares", [(0.7, 0.1, 0.2), (0.5, 0.25, 0.25), (0.4, 0.2, 0.4)]
)
def test_every_class_has_its_share_of_every_part(shares, group, balance):
    labels = [0] * 101 + [1] * 60 + [2] * 43
    config = DataConfig(balance=balance, split=shares, group=group)
    split = split_dataset(dataset(labels), config)
    totals = Counter(labels[row] for row in whole(split))
    for part, share in zip(split.parts().values(), shares, strict=True):
        counts = Counter(labels[row] for row in part)
        for label, total in totals.items():
            assert abs(counts[label] - share * total) <= 1


@given(
    rows=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30)), min_size=60),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_every_row_is_in_one_part_and_no_group_is_on_two_sides(rows, seed):
    labels, groups = zip(*rows, strict=True)
    data = dataset(labels, tuple(f"g{group}" for group in groups))
    data = dataclasses.replace(data, classes=("c0", "c1", "c2"))
    try:
        split = split_dataset(data, DataConfig(balance="none", split_seed=seed))
    except DataError:  # a group larger than a part leaves it empty
        assume(False)
    assert sorted(whole(split)) == list(range(len(rows)))
    assert split.dropped == 0
    sides = [{groups[row] for row in part} for part in split.parts().values()]
    assert sum(map(len, sides)) == len(set(groups))


def test_undersampling_leaves_as_many_of_each_class_as_of_the_rarest():
    labels = [0] * 100 + [1] * 60 + [2] * 40
    split = split_dataset(dataset(labels), DataConfig(balance="undersample"))
    rows = whole(split)
    assert split.dropped == 80
    assert Counter(labels[row] for row in rows) == {0: 40, 1: 40, 2: 40}
    assert len(set(rows)) == 120


def test_which_rows_undersampling_leaves_is_a_function_of_the_seed():
    labels = np.asarray([0] * 100 + [1] * 60 + [2] * 40)
    kept = undersample(labels, 1)
    np.testing.assert_array_equal(kept, undersample(labels, 1))
    assert not np.array_equal(kept, undersample(labels, 2))
    assert set(np.flatnonzero(labels == 2)) < set(kept)  # the rarest class whole


@pytest.mark.parametrize("balance", ["none", "weights"])
def test_other_balances_drop_no_row(balance):
    split = split_dataset(dataset([0] * 100 + [1] * 60), DataConfig(balance=balance))
    assert split.dropped == 0
    assert len(whole(split)) == 160


@pytest.mark.fault(40)
def test_identical_texts_are_never_on_two_sides():
    texts = [f"text {i % 50}" for i in range(200)]
    labels = [i % 2 for i in range(200)]
    data = dataset(labels, texts=texts)
    config = DataConfig(balance="none")

    def leaks(config):
        split = split_dataset(data, config)
        train = {texts[row] for row in split.train}
        return sum(texts[row] in train for row in split.test)

    assert leaks(config) == 0
    assert leaks(dataclasses.replace(config, group=False)) > 0


def test_the_split_is_a_function_of_its_seed():
    data = dataset([0, 1] * 100)
    a = split_dataset(data, DataConfig(split_seed=7))
    np.random.seed(0)  # numpy's global state has no part in it
    b = split_dataset(data, DataConfig(split_seed=7))
    other = split_dataset(data, DataConfig(split_seed=8))
    for name, part in a.parts().items():
        np.testing.assert_array_equal(part, b.parts()[name])
    assert whole(a) != whole(other)


@pytest.mark.fault(32)
def test_too_few_texts_are_refused():
    with pytest.raises(DataError, match="too few"):
        split_dataset(dataset([0, 0, 1, 1]), DataConfig(balance="none"))


def test_a_class_that_is_missing_from_a_part_is_said():
    labels = [0] * 50 + [1] * 2
    split = split_dataset(dataset(labels), DataConfig(balance="none"))
    assert "the test part holds no text of c1" in split.notes


def test_nothing_is_dropped_unless_it_is_asked_for():
    labels = [0] * 480 + [1] * 20
    split = split_dataset(dataset(labels), DataConfig())
    assert split.dropped == 0 and len(whole(split)) == 500
    assert not split.balanced
    (note,) = [note for note in split.notes if note.startswith("uneven")]
    assert "all 500 texts are used" in note
    assert "--balance weights would use all 500" in note
    assert "--balance undersample would use 40 of 500 texts, 20 of each" in note


def test_balanced_measurements_are_said_to_be():
    labels = [0] * 480 + [1] * 20
    split = split_dataset(dataset(labels), DataConfig(balance="undersample"))
    assert split.balanced and BALANCED in split.notes
    even = split_dataset(dataset([0, 1] * 50), DataConfig(balance="undersample"))
    assert not even.balanced and even.notes == ()
    data = dataclasses.replace(
        dataset(labels), parts=("train", "train", "test", "validation", "train") * 100
    )
    given = split_dataset(data, DataConfig(balance="undersample"))
    assert not given.balanced and len(given.test) == 100


@given(
    counts=st.lists(st.integers(1, 60), min_size=2, max_size=8), share=st.floats(0, 1)
)
@settings(max_examples=60, deadline=None)
def test_a_limit_takes_its_share_of_each_class(counts, share):
    strata = [("", c) for c, count in enumerate(counts) for _ in range(count)]
    limit = max(len(counts), round(share * len(strata)))
    rows = share_out(strata, limit, 3)
    assert len(rows) == limit == len(set(rows.tolist()))
    taken = Counter(strata[row][1] for row in rows)
    for c, count in enumerate(counts):
        assert 1 <= taken[c] <= count
        if count * limit >= len(strata):
            assert taken[c] <= count * limit / len(strata) + 1
    np.testing.assert_array_equal(rows, share_out(strata, limit, 3))


def test_a_limit_counts_over_all_parts_and_one_below_the_classes_is_refused():
    labels = [0] * 300 + [1] * 100
    config = DataConfig(limit=40)
    split = split_dataset(dataset(labels), config)
    assert len(whole(split)) == 40 and split.dropped == 360
    assert Counter(labels[row] for row in whole(split)) == {0: 30, 1: 10}
    with pytest.raises(DataError, match="--limit 1 is too few for 2 classes"):
        split_dataset(dataset(labels), dataclasses.replace(config, limit=1))


def test_shots_train_on_so_many_of_each_class_and_test_on_the_same_texts():
    labels = [0] * 300 + [1] * 100
    whole_split = split_dataset(dataset(labels), DataConfig())
    few = split_dataset(dataset(labels), DataConfig(shots=8))
    assert Counter(labels[row] for row in few.train) == {0: 8, 1: 8}
    assert set(few.train) < set(whole_split.train)
    np.testing.assert_array_equal(few.test, whole_split.test)
    np.testing.assert_array_equal(few.validation, whole_split.validation)
    other = split_dataset(dataset(labels), DataConfig(shots=8, split_seed=5))
    assert not np.array_equal(other.train, few.train)


@pytest.mark.parametrize(
    ("labels", "config", "cure"),
    [
        ([0] * 40 + [1, 1], {"balance": "undersample"}, "--balance none or weights"),
        ([0] * 40 + [1] * 40, {"limit": 2}, "raise --limit 2"),
        ([0, 0, 0, 1, 1], {"rare": "train", "rare_below": 5}, "lower --rare-below 5"),
        ([0, 0, 1, 1], {}, "--split"),
        ([0] * 5 + [1] * 5, {"folds": 10}, "take fewer --folds than 10"),
    ],
)
def test_too_few_texts_are_refused_with_the_flag_that_cures(labels, config, cure):
    with pytest.raises(DataError, match=f"too few: .*{cure}"):
        split_dataset(dataset(labels), DataConfig(**config))


def test_parts_that_unseen_texts_empty_say_so():
    data = dataset([0, 1] * 20)
    data = dataclasses.replace(data, texts=("a", "b") * 20)
    config = DataConfig(unseen=True, group=False)
    with pytest.raises(DataError, match="--unseen leaves out the texts that stand in"):
        split_dataset(data, config)


@pytest.mark.parametrize(
    ("config", "cure"),
    [
        ({"balance": "undersample"}, "the rarest has, 5 of c1; --balance none or wei"),
        ({"limit": 20}, "raise --limit 20"),
        ({"shots": 2}, "raise --shots 2"),
        ({}, "add texts"),
    ],
)
def test_training_texts_that_fill_no_batch_name_what_left_them_out(config, cure):
    data, settings = dataset([0] * 60 + [1] * 5), DataConfig(**config)
    train = split_dataset(data, settings).train if config else np.arange(4)
    message = fill_no_batch(data, settings, train, 16)
    assert f"{len(train)} training texts do not fill one batch of 16; " in message
    assert cure in message
    assert message.endswith(f"or choose --batch-size {len(train)} or less")


def test_a_given_split_without_training_texts_of_a_label_names_the_flag():
    data = dataclasses.replace(
        dataset([0, 0, 1, 1, 2]), parts=("train",) * 3 + ("validation", "test")
    )
    with pytest.raises(DataError, match=r"lacks c2; .*--rare drop --rare-below 1"):
        split_dataset(data, DataConfig())

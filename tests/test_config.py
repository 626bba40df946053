import dataclasses
import json
import math

import pytest

from gpt2_jax import config
from gpt2_jax.config import DataConfig, FinetuneConfig, GPT2Config, TrainConfig


@pytest.mark.parametrize(
    ("cls", "values", "message"),
    [
        (GPT2Config, {"embed_dim": 10, "num_heads": 3}, "not divisible"),
        (GPT2Config, {"num_layers": 0}, "num_layers=0"),
        (GPT2Config, {"dropout_rate": 1.0}, "dropout_rate=1.0"),
        (GPT2Config, {"pool": "lsat"}, "last_real, last, first, mean"),
        (GPT2Config, {"num_classes": 1}, "at least 2"),
        (DataConfig, {"split": (0.5, 0.6, 0.2)}, "sum to 1"),
        (DataConfig, {"split": (1.0, 0.0, 0.0)}, "three positive parts"),
        (DataConfig, {"split": (0.8, 0.2)}, "split: expected 3 values, got"),
        (DataConfig, {"balance": "over"}, "undersample"),
        (TrainConfig, {"epochs": 0}, "epochs=0"),
        (TrainConfig, {"learning_rate": -1.0}, "learning_rate=-1.0"),
        (TrainConfig, {"learning_rate": math.nan}, "learning_rate=nan"),
        (TrainConfig, {"weight_decay": -0.1}, "weight_decay=-0.1"),
        (TrainConfig, {"devices": 0}, "devices=0"),
        (TrainConfig, {"trainable": ()}, "no parameters"),
        (TrainConfig, {"schedule": "step"}, "constant, linear, cosine"),
        (TrainConfig, {"clip_norm": -1.0}, "clip_norm=-1.0"),
        (TrainConfig, {"parallel": "pjit"}, "jit, pmap"),
        (TrainConfig, {"shard": "zero"}, "none, fsdp"),
        (TrainConfig, {"shard": "fsdp"}, "trainable=\\('all',\\)"),
        (TrainConfig, {"patience": 0}, "patience=0"),
        (TrainConfig, {"metric": "auc"}, "accuracy, loss, f1"),
        (DataConfig, {"encoding": "rot13"}, "encoding='rot13'"),
        (FinetuneConfig, {"dtype": "float16"}, "float32, bfloat16"),
        (FinetuneConfig, {"max_length": 0}, "max_length=0"),
    ],
)
def test_impossible_values_are_refused_by_name(cls, values, message):
    with pytest.raises(ValueError, match=message):
        cls(**values)


@pytest.mark.parametrize("name", config.FINETUNE_PRESETS)
def test_a_config_survives_the_way_through_json_types(name):
    preset = config.FINETUNE_PRESETS[name]
    values = json.loads(json.dumps(config.to_dict(preset)))
    assert config.from_dict(FinetuneConfig, values) == preset


def test_a_config_that_is_no_mapping_is_refused():
    with pytest.raises(ValueError, match="expected a mapping, got list"):
        config.from_dict(FinetuneConfig, [])
    with pytest.raises(ValueError, match=r"config\.train: expected a mapping"):
        config.from_dict(FinetuneConfig, {"train": 3})


def test_what_a_config_leaves_out_is_the_default():
    values = {"train": {"epochs": 2}}
    expected = FinetuneConfig(train=TrainConfig(epochs=2))
    assert config.from_dict(FinetuneConfig, values) == expected


def test_a_whole_number_in_json_is_a_float_where_one_is_expected():
    values = {"train": {"weight_decay": 0, "clip_norm": 1}}
    train = config.from_dict(FinetuneConfig, values).train
    assert (train.weight_decay, train.clip_norm) == (0.0, 1.0)
    assert type(train.clip_norm) is float


# "head" for ["head"] would become the patterns h, e, a, d
@pytest.mark.parametrize(
    ("room", "key", "value"), [("train", "trainable", "head"), ("data", "split", 0.7)]
)
def test_one_value_in_place_of_a_list_is_refused_with_its_place(room, key, value):
    with pytest.raises(ValueError, match=rf"config\.{room}\.{key}: expected"):
        config.from_dict(FinetuneConfig, {room: {key: value}})


def test_an_unknown_key_is_refused_with_its_place():
    values = config.to_dict(FinetuneConfig())
    values["train"]["learning_rat"] = 1.0
    with pytest.raises(ValueError, match=r"config\.train: unknown keys learning_rat"):
        config.from_dict(FinetuneConfig, values)


@pytest.mark.parametrize(
    ("room", "key", "value"),
    [("train", "epochs", "5"), ("train", "epochs", True), ("data", "source", 3)],
)
def test_a_value_of_the_wrong_type_is_refused_with_its_place(room, key, value):
    values = config.to_dict(FinetuneConfig())
    values[room][key] = value
    with pytest.raises(ValueError, match=rf"config\.{room}\.{key}: expected"):
        config.from_dict(FinetuneConfig, values)


def test_configs_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        FinetuneConfig().weights = "124M"


def test_the_books_preset_has_the_books_settings():
    book = config.FINETUNE_PRESETS["book"]
    assert (book.pool, book.data.source, book.data.book) == ("last", "sms-spam", True)
    train = book.train
    assert (train.learning_rate, train.weight_decay) == (5e-5, 0.1)
    assert (train.epochs, train.batch_size, train.schedule) == (5, 8, "constant")
    assert (train.eval_every, train.eval_batches, train.seed) == (50, 5, 123)


@pytest.mark.parametrize("accumulate", [0, 9])
def test_a_batch_has_at_least_as_many_texts_as_pieces(accumulate):
    with pytest.raises(ValueError, match=f"accumulate={accumulate} must be between"):
        TrainConfig(batch_size=8, accumulate=accumulate)


def test_the_split_of_the_additional_experiments_needs_the_book():
    with pytest.raises(ValueError, match="needs book=True"):
        DataConfig(book_split="additional")

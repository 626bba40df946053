import dataclasses
import json
import math
import os
import types
import typing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2_jax import config
from gpt2_jax.config import (
    CheckConfig,
    DataConfig,
    FinetuneConfig,
    GPT2Config,
    ServeConfig,
    TrainConfig,
    from_dict,
    to_dict,
)
from gpt2_jax.config.fields import alternatives, hints_of, option_of


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
        FinetuneConfig().weights = "124M"  # pyright: ignore[reportAttributeAccessIssue]


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


_CONFIGS = (
    GPT2Config,
    DataConfig,
    TrainConfig,
    FinetuneConfig,
    ServeConfig,
    CheckConfig,
)
_FIELDS = [
    pytest.param(cls, field, id=f"{cls.__name__}.{field.name}")
    for cls in _CONFIGS
    for field in dataclasses.fields(cls)
]
# For each type, what it is not; None is tried apart.
_WRONG = {
    bool: (0, 1, "yes", 1.0),
    int: (2.5, 2.0, True, "5", math.nan, [5], 5j),
    float: ("0.5", True, 1j, [0.5]),
    str: (5, 0.5, True, b"text", ["text"]),
    tuple: ("no name", 5, True, {"a"}),
}


def _kinds(cls, field) -> list[type]:
    """Return the types that a field may have, beside None."""
    names: dict[object, type] = {typing.Literal: str, Path: str}
    hints = alternatives(hints_of(cls)[field.name])
    kinds: list[type] = [typing.get_origin(hint) or hint for hint in hints]
    return [names.get(kind, kind) for kind in kinds if kind is not types.NoneType]


def _wrong(cls, field) -> list:
    """Return values that are of none of the types of a field."""
    lists = [_WRONG.get(kind, ({}, 3, "demo")) for kind in _kinds(cls, field)]
    wrong = [
        value
        for value in lists[0]
        if all(any(value is other for other in values) for values in lists)
    ]
    nullable = types.NoneType in alternatives(hints_of(cls)[field.name])
    return wrong if nullable else [*wrong, None]


@pytest.mark.parametrize(("cls", "field"), _FIELDS)
def test_a_value_of_another_type_is_refused_when_a_config_is_made(cls, field):
    name, wrong = field.name, _wrong(cls, field)
    assert len(wrong) > 1
    for value in wrong:
        with pytest.raises(ValueError, match=f"^{name}: expected ") as caught:
            cls(**{name: value})
        assert field.repr == str(caught.value).endswith(f", got {value!r}")


@pytest.mark.parametrize(("cls", "field"), _FIELDS)
def test_a_choice_is_one_of_those_of_its_type(cls, field):
    hint = hints_of(cls)[field.name]
    if typing.get_origin(hint) is tuple:
        hint = typing.get_args(hint)[0]
    if typing.get_origin(hint) is typing.Literal:
        known = ", ".join(typing.get_args(hint))
        value = "oops" if _kinds(cls, field) == [str] else ["oops"]
        message = f"^{field.name}='oops' is not one of {known}$"
        with pytest.raises(ValueError, match=message):
            cls(**{field.name: value})


@pytest.mark.parametrize(
    ("cls", "name", "given", "kept"),
    [
        (TrainConfig, "epochs", np.int64(3), 3),
        (TrainConfig, "seed", np.uint8(3), 3),
        (TrainConfig, "learning_rate", np.float32(0.5), 0.5),
        (TrainConfig, "weight_decay", 0, 0.0),
        (TrainConfig, "clip_norm", np.int32(2), 2.0),
        (TrainConfig, "trainable", "all", ("all",)),
        (TrainConfig, "trainable", ["h_11/.*"], ("h_11/.*",)),
        (TrainConfig, "schedule", np.str_("linear"), "linear"),
        (DataConfig, "source", Path("mail.csv"), "mail.csv"),
        (DataConfig, "split", [0.5, 0.25, 0.25], (0.5, 0.25, 0.25)),
        (DataConfig, "text_column", np.str_("body"), "body"),
        (FinetuneConfig, "weights", Path("a") / "b", os.path.join("a", "b")),
        (ServeConfig, "allow_hosts", ["A.example"], ("a.example",)),
    ],
)
def test_what_can_be_meant_in_one_way_is_kept_in_the_types_of_json(
    cls, name, given, kept
):
    value = getattr(cls(**{name: given}), name)
    assert value == kept and type(value) is type(kept)


@pytest.mark.parametrize("value", ["h_11/.*", "a", "al", "head "])
def test_one_word_that_is_no_scope_is_not_taken_for_its_letters(value):
    with pytest.raises(ValueError, match=r"^trainable: expected list, got "):
        TrainConfig(trainable=value)


def test_a_secret_of_the_wrong_type_is_not_repeated():
    with pytest.raises(ValueError, match=r"^token: expected str or None$"):
        ServeConfig(token=b"secret")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("value", [2**63, 10**40])
def test_an_integer_has_64_bits(value):
    with pytest.raises(ValueError, match=r"reuse_max_bytes=.* must be"):
        TrainConfig(reuse_max_bytes=value)
    with pytest.raises(ValueError, match=r"^epochs=a very long int must be"):
        TrainConfig(epochs=10**5000 + value)


_ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(0, 300),
    st.floats(),
    st.floats(0, 1),
    st.text(st.characters()),
    st.integers(0, 2**40).map(np.int64),
    st.floats(0, 1, width=32).map(np.float32),
    st.sampled_from(
        [Path("x"), 10**5000, "\ud83d\ude00", "\udc80", np.str_("a"), b"a"]
    ),
)


def _values(cls, field) -> st.SearchStrategy:
    """Draw values of a field, possible ones often."""
    hint = hints_of(cls)[field.name]
    if dataclasses.is_dataclass(hint):
        return configs(hint)
    if typing.get_origin(hint) is tuple:
        item = typing.get_args(hint)[0]
        known = st.sampled_from(typing.get_args(item) or field.default or ("a",))
        items = st.lists(st.one_of(known, _ODD), max_size=3)
        return st.one_of(items, items.map(tuple), st.just(field.default), _ODD)
    choices = [
        choice
        for kind in alternatives(hint)
        if typing.get_origin(kind) is typing.Literal
        for choice in typing.get_args(kind)
    ]
    return st.one_of(st.sampled_from([field.default, *choices]), _ODD)


def configs(cls) -> st.SearchStrategy:
    """Draw configs that can be made; from the others, check what is said."""

    def make(values):
        try:
            return cls(**values)
        except ValueError as error:
            assert any(name in str(error) for name in values), error
            assert "\n" not in str(error) and len(str(error)) < 1000
            return None

    fields = {field.name: _values(cls, field) for field in dataclasses.fields(cls)}
    some = st.sets(st.sampled_from(sorted(fields)), max_size=4)
    return (
        some.flatmap(lambda names: st.fixed_dictionaries({n: fields[n] for n in names}))
        .map(make)
        .filter(lambda config: config is not None)
    )


@pytest.mark.parametrize("cls", _CONFIGS)
def test_every_config_that_can_be_made_survives_json(cls):
    @settings(max_examples=50, deadline=None, derandomize=True)
    @given(configs(cls))
    def check(config):
        text = json.dumps(to_dict(config), allow_nan=False)
        again = from_dict(cls, json.loads(text))
        assert again == config and hash(again) == hash(config)
        assert to_dict(again) == to_dict(config)
        assert json.dumps(to_dict(again)) == text

    check()


@pytest.mark.parametrize("cls", _CONFIGS)
def test_every_field_says_what_it_is(cls):
    for field in dataclasses.fields(cls):
        if not dataclasses.is_dataclass(field.default):
            assert option_of(field).help, field.name

"""Every field of a config has a flag, and every command line of before still parses."""

from __future__ import annotations

import dataclasses
import json
import shlex
import typing
from typing import Any

import pytest

from gpt2_jax.cli.finetune import finetune_config
from gpt2_jax.cli.flags import Leaf, leaves, with_flags
from gpt2_jax.cli.main import build_parser
from gpt2_jax.config import (
    CheckConfig,
    DataConfig,
    FinetuneConfig,
    ServeConfig,
    TrainConfig,
    from_dict,
    to_dict,
)
from gpt2_jax.config.sweep import SweepConfig
from gpt2_jax.errors import UserError

_COMMANDS = {
    "finetune": (["finetune"], FinetuneConfig()),
    "sweep": (["sweep"], SweepConfig()),
    "serve": (["serve", "RUN"], ServeConfig()),
    "check": (["check"], CheckConfig()),
    "tpu-check": (["tpu-check"], CheckConfig()),
}
_FIELDS = [
    pytest.param(command, leaf, id=f"{command} {leaf.flag}")
    for command, (_, config) in _COMMANDS.items()
    for leaf in leaves(config)
]
# Fields whose values are not free, or that need another one with them.
_VALUES: dict[str, Any] = {
    "data.source": ("one.csv", "two.csv"),
    "data.text_column": ("first", "second"),
    "data.test_data": ("one.csv", "two.csv"),
    "data.rename_labels": ("first=one", "second=two"),
    "data.delimiter": ";",
    "data.quote": "'",
    "data.split": (0.5, 0.25, 0.25),
    "data.encoding": "cp1252",
    "data.book_split": "additional",
    "data.fold": 1,
    "data.fold_repeat": 1,
    "sample_seed": 1,
    "train.accumulate": 2,
    "train.shard": "fsdp",
    "allow_hosts": ("one.example", "two.example"),
    "weights": "124M",
    "token": "secret",
    "port": 80,
    "root_path": "/spam",
    "cors_origins": ("https://one.example", "https://two.example"),
    "max_texts": 64,
    "programs": ("train",),
}
_WITH = {
    "data.book_split": ["--book"],
    "data.fold": ["--folds", "5"],
    "data.fold_repeat": ["--folds", "5"],
    "samples": ["--grid", "train.epochs=1..9"],
    "data.test_labels_file": ["--test-data", "test.txt"],
    "train.shard": ["--trainable", "all"],
}


def _other_value(leaf: Leaf) -> Any:
    """Return a value that the field may have, and that is not its default."""
    if leaf.path in _VALUES:
        value = _VALUES[leaf.path]
        is_list = isinstance(leaf.default, tuple) and not isinstance(value, tuple)
        return (value,) if is_list else value
    kinds = typing.get_args(leaf.hint) or (leaf.hint,)
    literal = kinds[0] if typing.get_origin(kinds[0]) is typing.Literal else leaf.hint
    if typing.get_origin(literal) is typing.Literal:
        choices = typing.get_args(literal)
        if isinstance(leaf.default, tuple):
            return tuple(c for c in choices if (c,) != leaf.default)
        return next(choice for choice in choices if choice != leaf.default)
    if isinstance(leaf.default, tuple):
        return ("first", "second")
    if bool in kinds:
        return not leaf.default
    if int in kinds:
        return 7 if leaf.default is None else leaf.default * 2
    if float in kinds:
        return 0.5 if leaf.default is None else leaf.default / 2 + 0.25
    return "other"


def _flags(leaf: Leaf, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [leaf.flag if value else leaf.flag.replace("--", "--no-", 1)]
    items = value if isinstance(value, tuple) else (value,)
    if leaf.facts.repeated:
        return [word for item in items for word in (leaf.flag, item)]
    return [leaf.flag, *map(str, items)]


@pytest.mark.parametrize(("command", "leaf"), _FIELDS)
def test_each_flag_sets_its_field_and_no_other(command, leaf):
    argv, default = _COMMANDS[command]
    others, value = _WITH.get(leaf.path, []), _other_value(leaf)
    parse = build_parser().parse_args
    before = with_flags(default, parse([*argv, *others]))
    got = with_flags(default, parse([*argv, *others, *_flags(leaf, value)]))
    changed = {
        ours.path: ours.default
        for ours, theirs in zip(leaves(got), leaves(before), strict=True)
        if ours.default != theirs.default
    }
    assert value != leaf.default
    assert changed == {leaf.path: value}


@pytest.mark.parametrize("command", _COMMANDS)
def test_help_says_what_each_field_is_and_its_default(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit):
        build_parser().parse_args([*_COMMANDS[command][0], "--help"])
    lines = capsys.readouterr().out.splitlines()
    for leaf in leaves(_COMMANDS[command][1]):
        i = next(
            i
            for i, at in enumerate(lines)
            if at.strip().split(" ")[0].rstrip(",") == leaf.flag
        )
        text = " ".join(lines[i : i + 2])
        assert leaf.facts.help in text and "(default: " in text, leaf.flag
        if leaf.default is None:
            assert f"(default: {leaf.facts.unset or 'none'})" in text
        elif isinstance(leaf.default, (int, float, str)) and leaf.hint is not bool:
            shown = str(leaf.default)
            shown = shown if shown.isprintable() else repr(shown)
            assert f"(default: {shown})" in text


def test_no_default_of_a_config_is_repeated_in_the_parser():
    for argv, default in _COMMANDS.values():
        arguments = build_parser().parse_args(argv)
        assert all(getattr(arguments, leaf.path) is None for leaf in leaves(default))
        assert with_flags(default, arguments) == default


# What was accepted before flags were made from fields, and what it meant.
_OLD = {
    "": {},
    "--preset book": {"data.source": "sms-spam", "data.book": True, "pool": "last"},
    "--preset book --book-split additional": {"data.book_split": "additional"},
    "--weights 124M --data mail.csv": {"weights": "124M", "data.source": "mail.csv"},
    "--data -": {"data.source": "-"},
    "--data mail.csv --text-column body --label-column kind --dry-run": {
        "data.text_column": "body",
        "data.label_column": "kind",
    },
    "--group-column who --split-column part --encoding cp1252": {
        "data.group_column": "who",
        "data.split_column": "part",
        "data.encoding": "cp1252",
    },
    "--drop-duplicates --unseen": {"data.drop_duplicates": True, "data.unseen": True},
    "--balance weights --split 0.8 0.1 0.1": {
        "data.balance": "weights",
        "data.split": (0.8, 0.1, 0.1),
    },
    "--trainable h_11/.* ln_f/.* out_head/.*": {
        "train.trainable": ("h_11/.*", "ln_f/.*", "out_head/.*")
    },
    "--trainable lora --lora-rank 4 --lora-alpha 8": {
        "train.trainable": ("lora",),
        "train.lora_rank": 4,
        "train.lora_alpha": 8.0,
    },
    "--pool mean --no-causal-mask --max-length 40 --dtype bfloat16": {
        "pool": "mean",
        "causal": False,
        "max_length": 40,
        "dtype": "bfloat16",
    },
    "--epochs=3 --batch-size 16 --accumulate 4 --seed 9": {
        "train.epochs": 3,
        "train.batch_size": 16,
        "train.accumulate": 4,
        "train.seed": 9,
    },
    "--learning-rate 2e-5 --weight-decay 0 --schedule linear --warmup-steps 7": {
        "train.learning_rate": 2e-5,
        "train.weight_decay": 0.0,
        "train.schedule": "linear",
        "train.warmup_steps": 7,
    },
    "--parallel pmap --devices 4 --resume --epochs 2": {
        "train.parallel": "pmap",
        "train.devices": 4,
    },
    "--trainable all --shard fsdp --resume auto": {"train.shard": "fsdp"},
    "--eval-every 11 --save-every 100 --keep best --keep-checkpoints 3 --metric f1 "
    "--patience 4": {
        "train.eval_every": 11,
        "train.save_every": 100,
        "train.keep": "best",
        "train.keep_checkpoints": 3,
        "train.metric": "f1",
        "train.patience": 4,
    },
    "--tensorboard --wandb": {"train.tensorboard": True, "train.wandb": True},
    "--device tpu --distributed --workdir gs://b/run --allow-data-change --offline": {},
    "--coordinator 10.0.0.1:1234 --num-processes 2 --process-id 0 --workdir /mnt "
    "--start-timeout 9 --trunk-cache c --debug --no-compilation-cache": {},
}


@pytest.mark.parametrize("line", _OLD)
def test_the_command_lines_of_before_mean_what_they_meant(line):
    arguments = build_parser().parse_args(["finetune", *shlex.split(line)])
    got = {leaf.path: leaf.default for leaf in leaves(finetune_config(arguments))}
    for path, value in _OLD[line].items():
        assert got[path] == value, path


@pytest.mark.parametrize(
    "line",
    [
        "evaluate RUN",
        "evaluate RUN --data d.csv --text-column a --label-column b --encoding cp1252",
        "evaluate RUN --abstain-below 0.9",
        "predict RUN one two --explain",
        "predict RUN --file in.csv --text-column body --output out.jsonl --resume",
        "predict RUN one --explain gradients --abstain-below 0.9",
        "threshold RUN --positive spam --target-recall 0.9",
        "serve RUN --host 0.0.0.0 --port 0 --token t --allow-host a --allow-host b",
        "serve RUN --max-queue 300 --timeout 2.5",
        "tpu-check --topology v5e:2x4 v6e:2x2 --weights 124M 1558M --parallel jit pmap",
        "check --target h100:8 t4 --programs train trunk --dtype float32 bfloat16",
        "tpu-check --trainable all head --shard fsdp --batch-size 16 --max-length 1024 "
        "--num-classes 3 --dtype bfloat16",
        "convert mini DST --to hf --num-heads 4 --offline",
        "export RUN DST --format stablehlo",
    ],
)
def test_the_other_commands_take_what_they_took(line):
    build_parser().parse_args(shlex.split(line))


def test_evaluate_takes_all_that_says_how_labelled_rows_are_read():
    line = (
        "evaluate RUN --data d.csv --text-column a --label-column b --encoding cp1252"
    )
    data = with_flags(DataConfig(), build_parser().parse_args(line.split()))
    assert data == DataConfig(
        source="d.csv", text_column="a", label_column="b", encoding="cp1252"
    )


def test_names_that_a_service_answers_to_are_compared_in_lower_case():
    line = "serve RUN --allow-host A.Example --allow-host b"
    config = with_flags(ServeConfig(), build_parser().parse_args(line.split()))
    assert config.allow_hosts == ("a.example", "b")


def test_a_yes_of_the_config_file_can_be_taken_back(tmp_path):
    path = tmp_path / "config.json"
    saved = FinetuneConfig(
        causal=False, train=TrainConfig(wandb=True), data=DataConfig(unseen=True)
    )
    path.write_text(json.dumps(to_dict(saved)))
    flags = ["--causal-mask", "--no-wandb", "--no-unseen"]
    argv = ["finetune", "--config", str(path), *flags]
    assert finetune_config(build_parser().parse_args(argv)) == FinetuneConfig()


def test_a_flag_that_no_run_can_have_is_a_user_error_with_its_field():
    arguments = build_parser().parse_args(["serve", "RUN", "--max-queue", "1"])
    with pytest.raises(UserError, match="max_queue=1 must be at least 256"):
        with_flags(ServeConfig(), arguments)


def test_flags_survive_json():
    for path, (argv, default) in _COMMANDS.items():
        config = with_flags(default, build_parser().parse_args(argv))
        values = json.loads(json.dumps(to_dict(config)))
        assert from_dict(type(default), values) == config, path
        assert dataclasses.is_dataclass(config)


def test_a_second_data_is_another_file_and_one_is_no_list():
    """Silent fault 7: of two --data the last won."""
    parse = build_parser().parse_args
    given = finetune_config(parse(["finetune", "--data", "a.csv", "--data", "b.csv"]))
    assert given.data.source == ("a.csv", "b.csv")
    alone = finetune_config(parse(["finetune", "--data", "a.csv"]))
    assert alone.data.source == "a.csv" == DataConfig(source=["a.csv"]).source  # pyright: ignore
    again = from_dict(FinetuneConfig, json.loads(json.dumps(to_dict(given))))
    assert again == given
    data = finetune_config(
        parse(["finetune", "--delimiter", "\\t", "--quote", ""])
    ).data
    assert (data.delimiter, data.quote) == ("\t", "")

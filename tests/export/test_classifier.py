"""A trained classifier gives its probabilities in every tool that it is exported to."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import types

import jax
import numpy as np
import pytest
from helpers import random_params
from training_helpers import ON_DISK, random_run

from gpt2_jax.engine.texts import pad
from gpt2_jax.errors import UserError, WeightsError
from gpt2_jax.evaluation.metrics import softmax
from gpt2_jax.export import hugging_face, stablehlo
from gpt2_jax.export.classifier import PROBES, export_run
from gpt2_jax.inference.classifier import Classifier
from gpt2_jax.model.gpt2 import to_classifier
from gpt2_jax.model.tree import flatten
from gpt2_jax.tokenizer import encode
from gpt2_jax.weights.trained import load_model, save_model

TEXTS = [
    "hello",
    "free prize! claim now",
    "see you at lunch, running late",
    "a " * 300,
    "naïve 東京 🎉",
    "  spaces  and\n\nnew lines\t",
    "<|endoftext|>",
    "ends with <|endoftext|>",
    *(f"{i} {'ha ' * i}free cash" for i in range(12)),
]
live = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return random_run(tmp_path_factory.mktemp("run"), classes=("a", "é", "c d"))


@pytest.fixture(scope="module")
def exports(run, tmp_path_factory):
    """{format: (what was written, what was said)} of one run."""
    folder = tmp_path_factory.mktemp("exports")
    return {
        to: (folder / to, export_run(run, folder / to, to))
        for to in ("hf", "stablehlo")
    }


def test_an_export_says_what_it_checked(run, exports):
    first, second = exports["hf"][1]
    num = len(flatten(load_model(run).params)) - len(hugging_face.FOLDED)
    assert first == f"read back: {num} parameters bit-equal"
    start = "read back: 7 probe texts, largest difference of a probability "
    for line in (second, *exports["stablehlo"][1]):
        assert line.startswith(start)
        assert float(line.removeprefix(start)) < 1e-6


@pytest.mark.parametrize(
    ("to", "changes", "message"),
    [
        ("hf", {"pool": "last"}, "cannot express the pool last: GPT2ForSeq"),
        ("hf", {"pool": "first"}, "cannot express the pool first"),
        ("hf", {"pool": "mean"}, "train with --pool last_real"),
        ("hf", {"causal": False}, "without the causal mask"),
        ("llms-from-scratch", {}, "cannot express the pool last_real: classify_review"),
        ("llms-from-scratch", {"pool": "first"}, "cannot express the pool first"),
        ("llms-from-scratch", {"pool": "mean"}, "train with --pool last"),
        ("llms-from-scratch", {"pool": "last", "causal": False}, "the causal mask"),
    ],
)
def test_what_a_tool_cannot_express_is_refused(tmp_path, to, changes, message):
    run = random_run(tmp_path / "run", **changes)
    with pytest.raises(UserError, match=message) as caught:
        export_run(run, tmp_path / "x.safetensors", to)
    assert caught.value.exit_code == 2
    assert os.listdir(tmp_path) == ["run"]


@pytest.mark.parametrize("num_classes", [2, 3, 12])
def test_the_heads_bias_moves_into_the_last_norm(num_classes):
    _, params = to_classifier(
        ON_DISK, random_params(ON_DISK), num_classes=num_classes, key=jax.random.key(2)
    )
    folded = hugging_face.fold_bias(params)
    random = np.random.default_rng(0).normal(size=(5, ON_DISK.embed_dim))

    def logits(params):
        head, norm = params["out_head"], params["ln_f"]
        hidden = random * np.asarray(norm["scale"], float) + np.asarray(norm["bias"])
        return hidden @ np.asarray(head["kernel"], float) + np.asarray(head["bias"])

    assert not folded["out_head"]["bias"].any()
    assert np.abs(np.asarray(params["out_head"]["bias"])).min() > 0
    np.testing.assert_allclose(logits(folded), logits(params), rtol=0, atol=1e-6)


def test_a_bias_that_cannot_be_moved_is_refused(tmp_path):
    classes = tuple(f"c{i}" for i in range(ON_DISK.embed_dim + 1))
    run = random_run(tmp_path / "run", classes=classes)
    with pytest.raises(UserError, match="cannot express the head's bias: 13 logits"):
        export_run(run, tmp_path / "x", "hf")
    assert os.listdir(tmp_path) == ["run"]


@pytest.mark.slow
def test_an_export_that_is_not_right_leaves_nothing(run, tmp_path, monkeypatch):
    monkeypatch.setattr(hugging_face, "fold_bias", lambda params: params)
    with pytest.raises(WeightsError, match="gave other probabilities: 7 probe texts"):
        export_run(run, tmp_path / "x", "hf")
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_a_bfloat16_run_is_exported_in_float32_and_told(tmp_path):
    run = random_run(tmp_path / "run", dtype="bfloat16")
    *_, line = export_run(run, tmp_path / "x", "stablehlo")
    assert "float32: the probabilities of the run in bfloat16 differ by up to" in line


@pytest.mark.slow
@live
def test_a_pipeline_of_transformers_gives_our_probabilities(run, exports):
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    folder, _ = exports["hf"]
    classify = transformers.pipeline("text-classification", model=folder, top_k=None)
    classifier = Classifier.load(run)
    expected = classifier.predict_proba(TEXTS)
    assert (expected.std(axis=0) > 0.02).all()  # a mix-up would show
    for batch_size in (1, 8):
        rows = classify(TEXTS, batch_size=batch_size, truncation=True)
        got = [{row["label"]: row["score"] for row in result} for result in rows]
        theirs = [[scores[name] for name in classifier.labels] for scores in got]
        np.testing.assert_allclose(theirs, expected, rtol=0, atol=1e-5)
    best = [result[0]["label"] for result in classify(TEXTS, truncation=True)]
    assert best == classifier.predict(TEXTS)


@pytest.mark.slow
@live
def test_transformers_loads_the_folder_whole(exports):
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    load = transformers.AutoModelForSequenceClassification.from_pretrained
    model, info = load(exports["hf"][0], output_loading_info=True)
    assert not any(info.values()), info  # nothing missing, unexpected or mismatched
    assert model.config.id2label == {0: "a", 1: "é", 2: "c d"}
    assert model.config.label2id == {"a": 0, "é": 1, "c d": 2}
    assert model.config.problem_type == "single_label_classification"


@pytest.mark.slow
@live
def test_what_the_readme_says_of_empty_texts_and_true_tokens_holds(run, exports):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    folder, _ = exports["hf"]
    classify = transformers.pipeline("text-classification", model=folder, top_k=None)
    with pytest.raises(RuntimeError):
        classify("")

    def theirs(ids):
        tokens = torch.tensor([ids])
        with torch.no_grad():
            logits = classify.model(tokens, attention_mask=torch.ones_like(tokens))
        return softmax(logits.logits.numpy())

    ours = Classifier.load(run).predict_proba(["", "hello"])
    np.testing.assert_allclose(theirs([50256]), ours[:1], rtol=0, atol=1e-5)
    ends_in_true_token = theirs([*encode("hello"), 50256])
    np.testing.assert_allclose(ends_in_true_token, ours[1:], rtol=0, atol=1e-5)


@pytest.mark.slow
@live
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_the_books_classify_review_agrees(tmp_path, monkeypatch, suffix):
    torch = pytest.importorskip("torch")
    ch04 = pytest.importorskip("llms_from_scratch.ch04")
    from safetensors.torch import load_file

    from gpt2_jax.tokenizer import encoding

    # ch06 imports pandas to prepare data, which classify_review has no use for.
    monkeypatch.setitem(sys.modules, "pandas", types.ModuleType("pandas"))
    ch06 = pytest.importorskip("llms_from_scratch.ch06")
    run = random_run(tmp_path / "run", pool="last", classes=("not spam", "spam"))
    texts = [text for text in TEXTS if "<|endoftext|>" not in text]  # it would raise
    trained, logits = load_model(run), Classifier.load(run).logits(texts)
    trained.params["out_head"]["bias"][1] -= np.median(logits[:, 1] - logits[:, 0])
    save_model(run / "model", trained)  # now it gives both labels
    path = tmp_path / f"model{suffix}"
    export_run(run, path, "llms-from-scratch")
    pth = suffix == ".pth"
    state = torch.load(path, weights_only=True) if pth else load_file(path)
    model = ch04.GPTModel(
        {
            "vocab_size": ON_DISK.vocab_size,
            "context_length": ON_DISK.max_len,
            "emb_dim": ON_DISK.embed_dim,
            "n_heads": ON_DISK.num_heads,
            "n_layers": ON_DISK.num_layers,
            "drop_rate": 0.0,
            "qkv_bias": True,
        }
    )
    model.out_head = torch.nn.Linear(ON_DISK.embed_dim, 2)
    model.load_state_dict(state, strict=True)
    classifier = Classifier.load(run)
    theirs = [
        ch06.classify_review(text, model, encoding(), "cpu", max_length=20)
        for text in ["", *texts]
    ]
    assert theirs == classifier.predict(["", *texts])
    assert len(set(theirs)) == 2
    probabilities = classifier.predict_proba(texts)
    for text, expected in zip(texts, probabilities, strict=True):
        ids = encode(text)[:20]
        tokens = torch.tensor([ids + [50256] * (20 - len(ids))])
        with torch.no_grad():
            got = torch.softmax(model.eval()(tokens)[:, -1], -1)[0].numpy()
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


ALONE = """
import json, sys
import numpy as np
from jax import export
folder, inputs, output = sys.argv[1:]
about = json.load(open(f"{folder}/model.json"))
content = bytearray(open(f"{folder}/{about['file']}", "rb").read())
call = export.deserialize(content).call
arrays = np.load(inputs)
results = [
    np.asarray(call(arrays[f"tokens{i}"], arrays[f"lengths{i}"])) for i in range(2)
]
np.savez(output, *results)
assert "gpt2_jax" not in sys.modules and "flax" not in sys.modules
"""


@pytest.mark.slow
def test_stablehlo_runs_without_this_package(run, exports, tmp_path):
    check_alone(run, exports["stablehlo"][0], tmp_path, widths=(20, 4))


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["last", "first", "mean"])
def test_stablehlo_runs_every_pool(tmp_path, pool):
    run = random_run(tmp_path / "run", pool=pool)
    export_run(run, tmp_path / "x", "stablehlo")
    widths = (20, 20 if pool == "last" else 4)
    check_alone(run, tmp_path / "x", tmp_path, widths=widths)


def check_alone(run, folder, tmp_path, *, widths):
    """Call an artefact, in a process without this package, on two batches."""
    arrays, batches = {}, (TEXTS, TEXTS[:1])
    for i, (texts, width) in enumerate(zip(batches, widths, strict=True)):
        encoded = [encode(text) for text in texts]
        lengths = np.asarray([min(len(ids), width) for ids in encoded], np.int32)
        arrays |= {f"tokens{i}": pad(encoded, width), f"lengths{i}": lengths}
    np.savez(tmp_path / "in.npz", **arrays)
    argv = [str(folder), str(tmp_path / "in.npz"), str(tmp_path / "out.npz")]
    # -I: neither this folder nor PYTHONPATH is looked at.
    done = subprocess.run(
        [sys.executable, "-I", "-c", ALONE, *argv],
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    results = np.load(tmp_path / "out.npz")
    expected = Classifier.load(run).predict_proba(TEXTS)
    for i, texts in enumerate(batches):
        got = softmax(results[f"arr_{i}"])
        np.testing.assert_allclose(got, expected[: len(texts)], rtol=0, atol=1e-5)


def test_the_artefact_says_how_to_call_it(run, exports):
    folder, _ = exports["stablehlo"]
    about = json.loads((folder / "model.json").read_text())
    trained = load_model(run)
    assert about["platforms"] == ["cpu", "cuda", "tpu"]
    assert about["jax_version"] == jax.__version__
    assert about["classes"] == list(trained.classes)
    assert about["max_length"] == trained.max_length == about["widths"][-1]
    assert about["pad_id"] == 50256
    content = bytearray((folder / about["file"]).read_bytes())
    exported = jax.export.deserialize(content)
    assert exported.platforms == ("cpu", "cuda", "tpu")
    tokens, lengths = exported.in_avals
    assert str(tokens.shape[0]) == str(lengths.shape[0]) == "batch"


def test_parameters_beyond_two_gigabytes_are_no_artefact(run, tmp_path, monkeypatch):
    monkeypatch.setattr(stablehlo, "_MAX_BYTES", 1000)
    with pytest.raises(UserError, match="a StableHLO artefact holds 2 GiB"):
        export_run(run, tmp_path / "x", "stablehlo")
    assert os.listdir(tmp_path) == []


def test_the_probes_hold_what_tokenizers_treat_differently():
    assert "" in PROBES and any("<|endoftext|>" in text for text in PROBES)
    assert max(len(encode(text)) for text in PROBES) > 1024


def test_a_run_that_is_damaged_is_not_exported(run, tmp_path):
    copy = shutil.copytree(run / "model", tmp_path / "model")
    (copy / "params.safetensors").write_bytes(b"x")
    with pytest.raises(WeightsError, match="damaged"):
        export_run(copy, tmp_path / "x", "hf")

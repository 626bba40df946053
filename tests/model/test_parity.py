"""Our logits and losses are PyTorch's: on stored fixtures always, live with torch.

`tests/golden/make_golden.py` made the fixtures.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import TINY, random_params
from training_helpers import as_texts

from gpt2_jax.config import FINETUNE_PRESETS, GPT2Config
from gpt2_jax.data.sources import load_dataset
from gpt2_jax.data.split import split_dataset
from gpt2_jax.engine.jit import jit_steps
from gpt2_jax.engine.optimizer import create_optimizer
from gpt2_jax.engine.param_labels import label_params
from gpt2_jax.engine.steps import create_train_state
from gpt2_jax.model.gpt2 import GPT2, to_classifier
from gpt2_jax.tokenizer import encode
from gpt2_jax.weights.pretrained import load_pretrained

GOLDEN = Path(__file__).parents[1] / "golden"
STEPS, BATCH, WIDTH, PAD = 40, 8, 120, 50256


def logits_of(path, tokens, num_heads=None):
    config, params = load_pretrained(path, num_heads=num_heads)
    logits = jax.jit(GPT2(config).apply)
    return logits({"params": params}, jnp.asarray(tokens, jnp.int32))


@pytest.mark.parametrize("folder", ["hf_odd", "hf_odd_sharded"])
def test_logits_of_hugging_face_weights_are_pytorchs(folder):
    stored = np.load(GOLDEN / "hf_odd.npz")
    logits = logits_of(GOLDEN / folder, stored["tokens"])
    np.testing.assert_allclose(logits, stored["logits"], atol=1e-4, rtol=0)


def test_logits_of_llms_from_scratch_weights_are_pytorchs():
    stored = np.load(GOLDEN / "llms_from_scratch_odd.npz")
    path = GOLDEN / "llms_from_scratch_odd.safetensors"
    logits = logits_of(path, stored["tokens"], num_heads=3)
    np.testing.assert_allclose(logits, stored["logits"], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("file", "pool", "num_heads"),
    [
        ("hf_classifier", "last_real", None),
        ("hf_classifier_bin", "last_real", None),
        ("review_classifier.pth", "last", 2),
        ("review_classifier.safetensors", "last", 2),
    ],
)
def test_logits_of_trained_classifiers_are_pytorchs(file, pool, num_heads):
    name = file.split(".")[0].removesuffix("_bin")
    stored = np.load(GOLDEN / "weights" / f"{name}_logits.npy")
    config, params = load_pretrained(GOLDEN / "weights" / file, num_heads=num_heads)
    assert config.pool == pool
    tokens = jnp.arange(12, dtype=jnp.int32).reshape(2, 6)
    logits = np.asarray(GPT2(config).apply({"params": params}, tokens))
    assert stored.std() > 0.1
    np.testing.assert_allclose(logits, stored, atol=1e-4, rtol=0)


def our_losses(tokens, lengths, labels, kernel, bias):
    """Train mini as `--preset book` does; return losses and the final params."""
    config, params = load_pretrained("mini")
    preset = FINETUNE_PRESETS["book"]
    model, params = to_classifier(
        config, params, num_classes=2, key=jax.random.key(0), pool=preset.pool
    )
    params = {**params, "out_head": {"kernel": kernel, "bias": bias}}
    scopes = label_params(params, preset.train.trainable, config.num_layers)
    tx = create_optimizer(preset.train, scopes, STEPS)
    state = create_train_state(model, params, tx)
    texts = as_texts(
        {
            "tokens": tokens.reshape(STEPS * BATCH, WIDTH).astype(np.int32),
            "lengths": lengths.reshape(-1).astype(np.int32),
            "labels": labels.reshape(-1),
            "loss_weights": np.ones(STEPS * BATCH, np.float32),
        }
    )
    steps = jit_steps(model, scopes, texts)
    rows = np.arange(STEPS * BATCH, dtype=np.int32).reshape(STEPS, BATCH)
    state, losses = steps.train(steps.place(state), rows, jax.random.key(0), WIDTH)
    return losses, state.params


@pytest.mark.slow
def test_forty_steps_of_the_books_training_have_pytorchs_losses():
    stored = np.load(GOLDEN / "book_40_steps.npz")
    losses, params = our_losses(
        stored["tokens"],
        stored["lengths"],
        stored["labels"],
        stored["head_kernel"],
        stored["head_bias"],
    )
    np.testing.assert_allclose(losses, stored["losses"], rtol=1e-4)
    kernel = np.asarray(params["out_head"]["kernel"])
    np.testing.assert_allclose(kernel, stored["final_head_kernel"], atol=2e-5)
    scale = np.asarray(params["ln_f"]["scale"])
    np.testing.assert_allclose(scale, stored["final_norm_scale"], atol=2e-5)
    assert np.abs(kernel - stored["head_kernel"]).max() > 1e-3  # it did train


def golden_script():
    spec = importlib.util.spec_from_file_location(
        "make_golden", GOLDEN / "make_golden.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# transformers 5.23 and torch 2.13 warn about their own internals while they load.
live = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@live
@pytest.mark.parametrize("seed", [0, 1])
def test_logits_equal_those_of_transformers(seed, tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(seed)
    sizes = {"vocab_size": 53 + seed, "n_positions": 19, "n_embd": 15, "n_head": 5}
    model = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            n_layer=2 + seed, bos_token_id=0, eos_token_id=0, **sizes
        )
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter))
    model.save_pretrained(tmp_path)
    tokens = torch.randint(0, 53, (2, 19))
    with torch.no_grad():
        expected = model(tokens).logits.numpy()
    logits = logits_of(tmp_path, tokens.numpy())
    np.testing.assert_allclose(logits, expected, atol=1e-4, rtol=0)


@live
@pytest.mark.parametrize("qkv_bias", [True, False])
def test_logits_equal_those_of_llms_from_scratch(qkv_bias, tmp_path):
    torch = pytest.importorskip("torch")
    ch04 = pytest.importorskip("llms_from_scratch.ch04")
    from safetensors.torch import save_file

    torch.manual_seed(3)
    config = golden_script().BOOK_ODD | {"qkv_bias": qkv_bias}
    model = ch04.GPTModel(config).eval()
    path = tmp_path / "model.safetensors"
    save_file({n: v.contiguous() for n, v in model.state_dict().items()}, path)
    tokens = torch.randint(0, 97, (2, 29))
    with torch.no_grad():
        expected = model(tokens).numpy()
    logits = logits_of(path, tokens.numpy(), num_heads=3)
    np.testing.assert_allclose(logits, expected, atol=1e-4, rtol=0)


@live
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin"])
def test_a_file_that_torch_saves_now_gives_the_params_of_its_safetensors_twin(
    suffix, tmp_path
):
    torch = pytest.importorskip("torch")
    ch04 = pytest.importorskip("llms_from_scratch.ch04")
    transformers = pytest.importorskip("transformers")
    from safetensors.torch import save_file

    torch.manual_seed(6)
    book = ch04.GPTModel(golden_script().BOOK_ODD)
    sizes = {"vocab_size": 53, "n_positions": 19, "n_embd": 15, "n_head": 5}
    config = transformers.GPT2Config(
        n_layer=2, bos_token_id=0, eos_token_id=0, pad_token_id=0, **sizes
    )
    config.save_pretrained(tmp_path)
    for model, dtype in (
        (book, torch.float32),
        (book, torch.bfloat16),
        (transformers.GPT2LMHeadModel(config), torch.float32),
        (transformers.GPT2ForSequenceClassification(config), torch.float16),
    ):
        state = {n: v.to(dtype) for n, v in model.state_dict().items()}
        heads = 3 if model is book else None
        twin = {n: v.clone().contiguous() for n, v in state.items()}
        save_file(twin, tmp_path / "twin.safetensors")
        torch.save(state, tmp_path / f"weights{suffix}")
        folder = tmp_path if heads is None else tmp_path / "book"
        folder.mkdir(exist_ok=True)
        for file in ("twin.safetensors", f"weights{suffix}"):
            (tmp_path / file).rename(folder / file)
        expected = load_pretrained(folder / "twin.safetensors", num_heads=heads)
        ours = load_pretrained(folder / f"weights{suffix}", num_heads=heads)
        assert ours[0] == expected[0]
        jax.tree.map(np.testing.assert_array_equal, ours[1], expected[1])


@live
@pytest.mark.slow
def test_forty_steps_on_the_books_own_texts_have_pytorchs_losses(sms_path, monkeypatch):
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    pytest.importorskip("llms_from_scratch.ch04")
    monkeypatch.setenv("GPT2_JAX_DATA", str(sms_path.parent))
    script = golden_script()
    data = FINETUNE_PRESETS["book"].data
    dataset = load_dataset(data)
    rows = split_dataset(dataset, data).train[: STEPS * BATCH]
    tokens = np.full((len(rows), WIDTH), PAD, np.int32)
    for line, row in zip(tokens, rows, strict=True):
        ids = encode(dataset.texts[row])[:WIDTH]
        line[: len(ids)] = ids
    tokens = tokens.reshape(STEPS, BATCH, WIDTH)
    labels = np.asarray(dataset.labels, np.int32)[rows].reshape(STEPS, BATCH)
    torch.manual_seed(5)
    model = script.book_classifier()
    kernel = model.out_head.weight.detach().numpy().T.copy()
    bias = model.out_head.bias.detach().numpy().copy()
    expected = script.train_as_the_book(model, tokens, labels)
    lengths = np.full((STEPS, BATCH), WIDTH, np.int32)
    losses, _ = our_losses(tokens, lengths, labels, kernel, bias)
    np.testing.assert_allclose(losses, expected, rtol=1e-4)


def test_bfloat16_logits_stay_near_float32():
    params = random_params(TINY)
    tokens = np.arange(20).reshape(2, 10)
    wide = jax.jit(GPT2(TINY).apply)({"params": params}, tokens)
    narrow_config = GPT2Config(**{**vars(TINY), "dtype": "bfloat16"})
    narrow = jax.jit(GPT2(narrow_config).apply)({"params": params}, tokens)
    assert narrow.dtype == jnp.float32
    scale = float(jnp.abs(wide).max())
    np.testing.assert_allclose(narrow, wide, atol=0.05 * scale)
    assert not np.array_equal(narrow, wide)

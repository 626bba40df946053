"""LoRA adapters of peft, and checkpoints of llm.c: the logits are PyTorch's."""

import json
import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from helpers import TINY, random_params

from gpt2_jax.errors import WeightsError
from gpt2_jax.inference.classifier import Classifier
from gpt2_jax.model.gpt2 import GPT2
from gpt2_jax.weights.convert import to_state_dict
from gpt2_jax.weights.pretrained import load_pretrained, read_pretrained
from gpt2_jax.weights.rules import MINGPT

GOLDEN = Path(__file__).parents[1] / "golden"
BASE = GOLDEN / "weights" / "hf_safetensors"
TOKENS = jnp.arange(12, dtype=jnp.int32).reshape(2, 6)


def adapter(tmp_path, name, base=BASE, **changes):
    """A stored adapter, whose base is told as peft tells it."""
    folder = tmp_path / name
    shutil.copytree(GOLDEN / "adapters" / name, folder)
    path = folder / "adapter_config.json"
    values = json.loads(path.read_text()) | changes
    values["base_model_name_or_path"] = str(base)
    path.write_text(json.dumps(values))
    return folder


def logits(path, **given):
    config, params = load_pretrained(path, **given)
    lengths = jnp.full(2, 6, jnp.int32)
    return np.asarray(GPT2(config).apply({"params": params}, TOKENS, lengths))


@pytest.mark.parametrize(
    "name",
    [
        "all",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("attention", "classifier")),
    ],
)
def test_an_adapter_of_peft_is_merged_into_its_base(tmp_path, name):
    got = logits(adapter(tmp_path, name))
    expected = np.load(GOLDEN / "adapters" / name / "logits.npy")
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4)


def test_the_head_of_an_adapter_is_a_classifiers(tmp_path):
    found = read_pretrained(adapter(tmp_path, "classifier"))
    assert found.config.num_classes == 3
    with pytest.raises(WeightsError, match="no tokenizer"):  # of 23 tokens
        Classifier.from_weights(tmp_path / "classifier")


def test_a_state_dict_of_torch_is_read_likewise(tmp_path):
    torch = pytest.importorskip("torch")
    folder = adapter(tmp_path, "attention")
    file = folder / "adapter_model.safetensors"
    state = safetensors.numpy.load_file(file)
    tensors = {name: torch.tensor(value) for name, value in state.items()}
    torch.save(tensors, folder / "adapter_model.bin")
    expected = load_pretrained(folder)[1]["h_1"]["attn"]["c_attn"]["kernel"]
    file.unlink()
    got = load_pretrained(folder)[1]["h_1"]["attn"]["c_attn"]["kernel"]
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("dora", {}, r"peft_type='LORA' with use_dora; merge it with peft"),
        ("attention", {"peft_type": "IA3"}, "peft_type='IA3'; merge it with peft"),
        *(
            (
                "attention",
                {"init_lora_weights": way},
                f"'LORA' with init_.*'{way}'; merg",
            )
            for way in ("pissa", "pissa_niter_4", "olora", "corda", "loftq", "lora_ga")
        ),
        ("attention", {"base": ""}, "names no base model"),
        ("attention", {"base": "/no/such"}, "peft for '/no/such'.*: no such file"),
        ("attention", {"lora_alpha": None}, "attn.c_attn does not fit the base"),
    ],
)
def test_what_cannot_be_merged_is_refused_with_the_way(tmp_path, name, changes, said):
    base = changes.pop("base", BASE)
    with pytest.raises(WeightsError, match=said):
        load_pretrained(adapter(tmp_path, name, base, **changes))


def test_an_adapter_of_another_base_is_refused(tmp_path):
    base = GOLDEN / "hf_odd"
    with pytest.raises(WeightsError, match="does not fit the base"):
        load_pretrained(adapter(tmp_path, "attention", base))


@pytest.mark.parametrize("way", [True, False, "gaussian", "orthogonal", "eva"])
def test_adapters_that_left_their_base_as_it_was_are_merged(tmp_path, way):
    got = logits(adapter(tmp_path, "attention", init_lora_weights=way))
    expected = np.load(GOLDEN / "adapters" / "attention" / "logits.npy")
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4)


def test_a_head_stays_that_of_the_base_where_the_embedding_was_trained(tmp_path):
    """So does peft's, though they were one."""
    folder = adapter(tmp_path, "attention")
    file = folder / "adapter_model.safetensors"
    state = safetensors.numpy.load_file(file)
    before = load_pretrained(BASE)[1]["wte"]["embedding"]
    wte = before[::-1].copy()
    state["base_model.model.transformer.wte.weight"] = wte
    safetensors.numpy.save_file(state, file)
    config, params = load_pretrained(folder)
    assert not config.tied
    np.testing.assert_array_equal(params["wte"]["embedding"], wte)
    np.testing.assert_array_equal(params["out_head"]["kernel"], before.T)


def test_adapters_of_the_trunk_fit_a_base_with_a_head(tmp_path):
    folder = adapter(tmp_path, "attention")
    file = folder / "adapter_model.safetensors"
    state = safetensors.numpy.load_file(file)
    bare = {name.replace(".transformer.", "."): value for name, value in state.items()}
    expected = logits(folder)
    safetensors.numpy.save_file(bare, file)
    np.testing.assert_array_equal(logits(folder), expected)


def llm_c(path, dtype="float32", *, version=3, padded=128):
    """Write a model as write_model of its train_gpt2.py does."""
    state = to_state_dict(random_params(TINY), MINGPT)
    rows = np.zeros((padded, TINY.embed_dim), np.float32)
    rows[: TINY.vocab_size] = state["wte.weight"]
    sizes = (TINY.max_len, TINY.vocab_size, TINY.num_layers, TINY.num_heads)
    header = np.zeros(256, np.int32)
    header[:8] = (20240326, version, *sizes, TINY.embed_dim, padded)
    order = [rows, state["wpe.weight"]]
    for layer in (
        *("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj"),
    ):
        for leaf in ("weight", "bias"):
            names = [f"h.{i}.{layer}.{leaf}" for i in range(TINY.num_layers)]
            order += [state[name] for name in names]
    order += [state["ln_f.weight"], state["ln_f.bias"]]
    body = b"".join(tensor.astype(dtype).tobytes() for tensor in order)
    path.write_bytes(header.tobytes() + body)
    return path


def test_a_checkpoint_of_llm_c_is_the_same_model(tmp_path):
    config, params = load_pretrained(llm_c(tmp_path / "gpt2_124M.bin"))
    assert config == TINY
    expected = random_params(TINY)
    for block in ("h_0", "h_2"):
        for layer in ("attn", "mlp"):
            np.testing.assert_array_equal(
                params[block][layer]["c_proj"]["kernel"],
                expected[block][layer]["c_proj"]["kernel"],
            )
    np.testing.assert_array_equal(
        params["wte"]["embedding"], expected["wte"]["embedding"]
    )
    half = llm_c(tmp_path / "x_bf16.bin", "bfloat16", version=5)
    read = load_pretrained(half)[1]["wpe"]["embedding"]
    np.testing.assert_allclose(read, expected["wpe"]["embedding"], rtol=1e-2)


def test_an_older_or_a_damaged_checkpoint_of_llm_c_is_refused(tmp_path):
    path = llm_c(tmp_path / "old.bin", version=1)
    with pytest.raises(WeightsError, match=r"version 1 of llm\.c's checkpoints"):
        load_pretrained(path)
    path = llm_c(tmp_path / "x.bin")
    content = path.read_bytes()
    for part, said in ((content[:900], "cut off"), (content[:-4], "bytes by its head")):
        path.write_bytes(part)
        with pytest.raises(WeightsError, match=said):
            load_pretrained(path)

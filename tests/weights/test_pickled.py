"""A pickle is data here: whatever it asks for, nothing runs and nothing is imported."""

from __future__ import annotations

import argparse
import collections
import copyreg
import datetime
import pickle
import sys
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from torch_zip import PROTO_2, integer, integers, named, state, storage, tensor, text

from gpt2_jax.weights.inert import Inert
from gpt2_jax.weights.pickled import parse
from gpt2_jax.weights.torch_objects import Storage, Tensor

GOLDEN = Path(__file__).parents[1] / "golden" / "weights"
ORDERED_DICT = named("collections", "OrderedDict")
REBUILD = named("torch._utils", "_rebuild_tensor_v2")
CODE = "open({canary!r}, 'w').close()"
CALL = b"\x85R"  # with one argument


def shell(canary: str) -> bytes:
    return text(f"touch {canary}")


def code(canary: str) -> bytes:
    return text(CODE.format(canary=canary))


def in_the_place_of_a_storage_type(canary: str) -> bytes:
    fields = [text("storage"), named("os", "system") + shell(canary) + CALL]
    return b"(" + b"".join([*fields, text("0"), text("cpu"), integer(1)]) + b"tQ."


# Each of them creates the file `canary` when Python's own unpickler reads it.
RUNS = {
    "os.system": lambda c: named("os", "system") + shell(c) + CALL + b".",
    "posix.system": lambda c: named("posix", "system") + shell(c) + CALL + b".",
    "eval": lambda c: named("builtins", "eval") + code(c) + CALL + b".",
    "exec": lambda c: named("builtins", "exec") + code(c) + CALL + b".",
    "subprocess": lambda c: (
        named("subprocess", "call")
        + b"](" + text("touch") + text(c) + b"e" + CALL + b"."
    ),
    "runpy": lambda c: named("runpy", "_run_code") + code(c) + b"}\x86R.",
    "timeit": lambda c: named("timeit", "timeit") + text("") + code(c) + b"\x86R.",
    "importlib": lambda c: (
        named("importlib", "import_module") + text("canary_module") + CALL + b"."
    ),
    "the global alone": lambda c: named("canary_module", "anything") + b".",
    "STACK_GLOBAL": lambda c: (
        text("os") + text("system") + b"\x93" + shell(c) + CALL + b"."
    ),
    "STACK_GLOBAL of memoized strings": lambda c: (
        text("os") + b"\x94" + text("system") + b"\x94\x86h\x00h\x01\x93"
        + shell(c) + CALL + b"\x86."
    ),
    "STACK_GLOBAL of an attribute": lambda c: (
        b"\x80\x04" + text("subprocess") + text("os.system") + b"\x93"
        + shell(c) + CALL + b"."
    ),
    "INST": lambda c: b"(" + shell(c) + b"ios\nsystem\n.",
    "OBJ": lambda c: b"(" + named("os", "system") + shell(c) + b"o.",
    "EXT1": lambda c: b"\x82\x7b" + shell(c) + CALL + b".",
    "a text of pickle protocol 0": lambda c: (
        b"cos\nsystem\n(Vtouch " + c.encode() + b"\ntR."
    ),
    "in a value of the state dict": lambda c: (
        b"}" + text("wte") + named("os", "system") + shell(c) + CALL + b"s."
    ),
    "after the state dict": lambda c: (
        b"}" + named("os", "system") + shell(c) + CALL + b"0."
    ),
    "as the argument of an allowed global": lambda c: (
        ORDERED_DICT + named("os", "system") + shell(c) + CALL + b"0)R."
    ),
    "a pickle within the pickle": lambda c: (
        named("pickle", "loads")
        + b"C" + bytes([len(inner := named("os", "system") + shell(c) + CALL + b".")])
        + inner + CALL + b"."
    ),
}  # fmt: skip

# These need more than Python to do harm, or only break things.
REFUSED = {
    "pip.main": named("pip", "main") + b"]" + CALL + b".",
    "torch's own loader": named("torch.storage", "_load_from_bytes") + b"C\x00\x85R.",
    "torch.load": named("torch", "load") + text("x") + CALL + b".",
    "numpy.load": named("numpy", "load") + text("x.npy") + CALL + b".",
    "getattr": named("builtins", "getattr") + b")R.",
    "an attribute of an allowed global": (
        named("torch._utils", "_rebuild_tensor_v2.__globals__") + b"."
    ),
    "STACK_GLOBAL of what is no string": ORDERED_DICT + text("x") + b"\x93.",
    "NEWOBJ of an allowed global": ORDERED_DICT + b")\x81.",
    "NEWOBJ_EX of an allowed global": ORDERED_DICT + b")}\x92.",
    "OBJ of an allowed global": b"(" + ORDERED_DICT + b"o.",
    "INST of an allowed global": b"(icollections\nOrderedDict\n.",
    "BUILD of a dict": b"}" + b"}" + text("__class__") + b"Ns" + b"b.",
    "NEWOBJ of what is no class": text("x") + b")\x81.",
    "BUILD of a name": named("os", "environ") + b"}b.",
    "the call of a placeholder": named("os", "X") + b")\x81)R.",
    "the name of a name": named("os", "path.__loader__") + b".",
    "BUILD of a function": REBUILD + b"}" + text("__globals__") + b"Nsb.",
    "BUILD of a tensor": tensor(storage("0", 1), (1,)) + b"}b.",
    "PERSID": b"Pstorage\n.",
    "a persistent id that is no tuple": text("storage") + b"Q.",
    "a persistent id of a module": b"(" + text("module") + text("os") + b"tQ.",
    "a persistent id without a type": (
        b"(" + text("storage") + text("os") + text("0") + text("cpu") + b"K\x01tQ."
    ),
    "a storage type that is called": named("torch", "FloatStorage") + b")R.",
    "an OrderedDict of something": ORDERED_DICT + b"]" + CALL + b".",
    "a tensor of no storage": REBUILD + b"(" + text("x") + integer(0) + b"))tR.",
    "a tensor with a shape of strings": (
        REBUILD + b"(" + storage("0", 1) + integer(0) + text("1") * 2 + b"tR."
    ),
    "a tensor with a shape of truth": (
        REBUILD + b"(" + storage("0", 1) + integer(0) + b"\x88\x85\x88\x85tR."
    ),
    "a parameter of no tensor": (
        named("torch._utils", "_rebuild_parameter") + b"}" + CALL + b"."
    ),
    "an untyped storage": storage("0", 1, "UntypedStorage") + b".",
    "the call of a string": text("x") + b")R.",
    "arguments that are no tuple": ORDERED_DICT + b"]R.",
    "a key that is a tuple": b"}" + b")" + b"Ns.",
    "a key twice": b"}(" + (text("a") + b"N") * 2 + b"u.",
    "an append to a dict": b"}Na.",
    "items of a list": b"](" + text("a") + b"Nu.",
    "a set": b"\x8f.",
    "bytes": b"C\x01x.",
    "the memo of nothing": b"h\x07.",
    "no mark": b"Nt.",
    "an empty stack": b"a.",
    "two values at the end": b"NN.",
    "no end": b"N",
    "an unknown opcode": b"\xff.",
    "a string beyond the end": b"X\xff\xff\xff\x7fabc.",
    "a string of 2**62 bytes": b"\x8d" + (2**62).to_bytes(8, "little") + b"a.",
    "nothing": b"",
}  # fmt: skip


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """A path that an attack creates, or that the import of `canary_module` does."""
    path = tmp_path / "canary"
    (tmp_path / "canary_module.py").write_text(
        CODE.format(canary=str(path)) + "\nanything = 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "canary_module", raising=False)
    copyreg.add_extension("os", "system", 0x7B)
    yield path
    copyreg.remove_extension("os", "system", 0x7B)
    sys.modules.pop("canary_module", None)


@pytest.mark.fault(29)
@pytest.mark.parametrize("attack", RUNS)
def test_what_pickle_would_run_is_refused_and_does_nothing(attack, canary):
    payload = RUNS[attack](str(canary))
    modules = set(sys.modules)
    for protocol in (b"", PROTO_2, b"\x80\x04"):
        with pytest.raises(ValueError, match=r"pickle"):
            parse(protocol + payload)
    assert not canary.exists()
    assert set(sys.modules) == modules
    pickle.loads(payload)  # so the attack is one
    assert canary.exists()


@pytest.mark.fault(29)
def test_a_call_in_the_place_of_a_storage_type_is_refused(canary):
    with pytest.raises(ValueError, match=r"asks for os\.system"):
        parse(in_the_place_of_a_storage_type(str(canary)))
    assert not canary.exists()


@pytest.mark.fault(29)
@pytest.mark.parametrize("attack", REFUSED)
def test_what_no_state_dict_needs_is_refused(attack):
    modules = set(sys.modules)
    with pytest.raises(ValueError):
        parse(REFUSED[attack])
    assert set(sys.modules) == modules


def test_what_is_asked_for_is_named():
    with pytest.raises(ValueError, match=r"asks for pip\.main; .*state_dict"):
        parse(REFUSED["pip.main"])
    with pytest.raises(ValueError, match="of something that is no class"):
        parse(REFUSED["NEWOBJ of an allowed global"])


# What stands beside tensors, as torch.save of protocol 2 pickles it.
BESIDE = {
    "argparse.Namespace": (argparse.Namespace(lr=1.0), {"lr": 1.0}),
    "pathlib.PurePosixPath": (PurePosixPath("a/b"), None),
    "numpy._core.multiarray.scalar": (np.float64(0.5), None),
    "numpy._core.multiarray._reconstruct": (np.arange(3), ...),
    "numpy.dtype": (np.dtype("f4"), ...),
    "collections.defaultdict": (collections.defaultdict(list, a=[1]), None),
    "collections.Counter": (collections.Counter("aab"), None),
    "collections.deque": (collections.deque([1, 2]), None),
    "__builtin__.set": ({1, 2}, None),
    "__builtin__.complex": (1 + 2j, None),
    "__builtin__.xrange": (range(3), None),
    "__builtin__.slice": (slice(3), None),
    "_codecs.encode": (b"ab", None),
    "datetime.date": (datetime.date(2020, 1, 1), None),
}


@pytest.mark.parametrize("name", BESIDE)
def test_what_lies_beside_tensors_is_described_and_never_made(name):
    value, expected = BESIDE[name]
    pickled = pickle.dumps({"model": {}, "value": value}, protocol=2)
    found = parse(pickled)["value"]
    assert type(found) is Inert
    assert found.name.replace("._local", "") == name  # Python 3.13's pathlib
    assert expected is ... or found.state == expected


@pytest.mark.fault(29)
@pytest.mark.parametrize("name", [*BESIDE, "__main__.Config", "torch.device"])
def test_a_placeholder_runs_nothing_that_it_is_given(name, canary):
    """Neither its class is imported nor what its arguments and state ask for made."""
    module, _, attribute = name.rpartition(".")
    modules = set(sys.modules)
    inside = named("canary_module", "anything")
    held = parse(PROTO_2 + named(module, attribute) + inside + CALL + b"}b.")
    assert type(held) is Inert and not canary.exists()
    attack = named("os", "system") + shell(str(canary)) + CALL
    for payload in (
        named(module, attribute) + attack + CALL + b".",
        named(module, attribute) + b")\x81" + attack + b"b.",
    ):
        with pytest.raises(ValueError, match=r"asks for os\.system"):
            parse(PROTO_2 + payload)
    assert not canary.exists()
    assert set(sys.modules) == modules


def test_an_object_of_an_unknown_class_keeps_its_attributes():
    made = named("train_gpt2", "GPTConfig") + b")\x81}" + text("n_head") + b"K\x04sb."
    found = parse(PROTO_2 + made)
    assert (found.name, found.state) == ("train_gpt2.GPTConfig", {"n_head": 4})


@pytest.mark.fault(29)
def test_a_nested_bomb_stays_small():
    # Each list holds the one before twice: 2**60 leaves, were they ever visited.
    layers = (
        b"]"
        + b"\x94"
        + b"".join(
            b"](" + b"h" + bytes([i]) + b"h" + bytes([i]) + b"e\x94" for i in range(60)
        )
    )
    with pytest.raises(ValueError, match="a pickle of 61 values"):
        parse(layers + b".")


def test_a_state_dict_is_described():
    twice = storage("0", 6)
    parsed = parse(
        state({"a": tensor(twice, (2, 3)), "b": tensor(twice, (3,), (2,), offset=1)})
    )
    floats = Storage("0", np.dtype("<f4"), 6)
    assert parsed == {
        "a": Tensor(floats, 0, (2, 3), (3, 1)),
        "b": Tensor(floats, 1, (3,), (2,)),
    }


def test_the_versions_of_modules_that_torch_adds_are_dropped():
    metadata = b"}" + text("_metadata") + ORDERED_DICT + b")Rs"
    one = text("a") + tensor(storage("0", 1), (1,)) + b"s"
    assert list(parse(ORDERED_DICT + b")R" + one + metadata + b"b.")) == ["a"]


def test_plain_values_beside_the_tensors_are_read():
    values = b"".join(
        text(key) + value
        for key, value in {
            "none": b"N",
            "flags": b"](\x88\x89e",
            "small": b"K\x07",
            "large": integer(-(2**40)),
            "rate": b"G?\xe0\x00\x00\x00\x00\x00\x00",
            "betas": integers((1, 2)),
        }.items()
    )
    assert parse(PROTO_2 + b"}(" + values + b"u.") == {
        "none": None,
        "flags": [True, False],
        "small": 7,
        "large": -(2**40),
        "rate": 0.5,
        "betas": (1, 2),
    }


# pickletools decodes escapes in the name of a global, and warns of bad ones.
@pytest.mark.filterwarnings("ignore:invalid escape")
@pytest.mark.parametrize("file", ["tensors.pth", "tensors_protocol_4.pth"])
def test_a_damaged_pickle_is_a_value_error_or_plain_data(file):
    with zipfile.ZipFile(GOLDEN / file) as archive:
        name = next(n for n in archive.namelist() if n.endswith("data.pkl"))
        whole = archive.read(name)
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        content = bytearray(whole)
        content[random.integers(len(whole))] = random.integers(256)
        try:
            parse(bytes(content))
        except ValueError:
            refused += 1
    assert 100 < refused < 300

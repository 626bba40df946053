"""Each name that a pickle may give to what stays inert, with hostile things around."""

from __future__ import annotations

import collections
import contextlib
import copyreg
import itertools
import pickle
import re
import sys
import types
import typing

import numpy as np
import pytest
from fuzzing import bounded, nothing_runs
from helpers import TINY, random_params
from torch_zip import (
    PROTO_2,
    integer,
    integers,
    named,
    pack,
    pack_arrays,
    storage,
    tensor,
    text,
)

from gpt2_jax.errors import WeightsError
from gpt2_jax.weights.convert import to_state_dict
from gpt2_jax.weights.inert import CALLED, FAMILIES, Inert, Name
from gpt2_jax.weights.pickled import parse
from gpt2_jax.weights.pretrained import load_pretrained
from gpt2_jax.weights.rules import LLMS_FROM_SCRATCH
from gpt2_jax.weights.torch_objects import GLOBALS, Storage

SHORT = 1000  # characters: of what is refused

# Of each family one that could do harm if it were made: see `evil`.
MEMBERS = {
    r"__main__\.\w+": "__main__.Evil",
    r"datetime\.\w+": "datetime.Evil",
    r"pathlib\.\w*Path": "pathlib.EvilPath",
    r"pathlib\._local\.\w*Path": "pathlib._local.EvilPath",
    r"transformers\.[\w.]+": "transformers.evil.Evil",
}
PLACEHOLDERS = [*CALLED, *MEMBERS.values()]
EXTENSION = 0x7C
MADE = b")R"  # called with nothing


def test_each_family_of_placeholders_has_a_hostile_member():
    assert set(MEMBERS) == set(FAMILIES), "a new one needs a member here"
    for family, member in MEMBERS.items():
        assert re.fullmatch(family, member)


class Evil:
    """Tells of whatever is done with it, its making included."""

    done: typing.ClassVar[list[str]] = []

    def __new__(cls, *_, **__):
        cls.done.append("new")
        return object.__new__(cls)

    def __getattribute__(self, name):
        Evil.done.append(name)
        return object.__getattribute__(self, name)

    def __setstate__(self, state):
        self.done.append("setstate")

    def __setitem__(self, *_):
        self.done.append("setitem")

    def __hash__(self):
        self.done.append("hash")
        return 0

    def append(self, *_):
        self.done.append("append")


@pytest.fixture
def evil(monkeypatch):
    """What was done with the class that the hostile members name, were it found."""
    for name in (*MEMBERS.values(), "canary.Evil"):
        module, _, attribute = name.rpartition(".")
        parts = module.split(".")
        for end in range(1, len(parts) + 1):  # packages that are not installed too
            name = ".".join(parts[:end])
            if name not in sys.modules:
                monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
        monkeypatch.setattr(sys.modules[module], attribute, Evil, raising=False)
    monkeypatch.setattr(Evil, "done", [])
    return Evil.done


@pytest.fixture
def extension():
    """Lets a name have the code EXTENSION, as a package may that is installed."""
    with contextlib.ExitStack() as stack:

        def let(placeholder):
            module, _, attribute = placeholder.rpartition(".")
            copyreg.add_extension(module, attribute, EXTENSION)
            stack.callback(copyreg.remove_extension, module, attribute, EXTENSION)

        yield let


def name_of(placeholder):
    module, _, attribute = placeholder.rpartition(".")
    return named(module, attribute)


def attack(path):
    return named("os", "system") + text(f"touch {path}") + b"\x85R"


def entry(key, value):
    return text(key) + value + b"s"


def doubled(inner, layers=60):
    """Return a tuple in which `inner` stands 2**60 times."""
    return inner + b"".join(
        b"r" + (i).to_bytes(4, "little") + b"j" + (i).to_bytes(4, "little") + b"\x86"
        for i in range(1000, 1000 + layers)
    )


# With `n`, the name of a placeholder; what describes nothing and calls nothing it may.
INERT = {
    "called": lambda n: n + MADE,
    "called with itself": lambda n: n + n + b"\x85R",
    "called with what is twofold 60 times": lambda n: n + doubled(n + MADE) + b"R",
    "called 3000 deep": lambda n: n * 3000 + b"N" + b"\x85R" * 3000,
    "a new object": lambda n: n + b")\x81",
    "a new object of a name in canary": lambda n: (
        named("canary", "Evil") + n + MADE + b"\x85\x81}b"
    ),
    "STACK_GLOBAL": lambda n: (
        b"".join(map(text, n[1:-1].decode().split("\n"))) + b"\x93)R"
    ),
    "a state of special names": lambda n: (
        n
        + MADE
        + b"}"
        + b"".join(
            entry(key, named("os", "system"))
            for key in ("__class__", "__dict__", "__reduce__", "__setstate__", "state")
        )
        + b"b"
    ),
    "a state of slots": lambda n: (
        n + MADE + b"N}" + entry("__class__", b"N") + b"\x86b"
    ),
    "a state for __setstate__": lambda n: n + MADE + text("touch x") + b"\x85b",
    "its own state": lambda n: n + MADE + b"q\x00h\x00b",
    "a state that is twofold 60 times": lambda n: n + MADE + doubled(n + MADE) + b"b",
    "states 3000 deep": lambda n: (n + MADE) * 3000 + b"N" + b"b" * 3000,
    "two states": lambda n: n + MADE + b"}b}" + entry("__class__", n) + b"b",
    "items": lambda n: n + MADE + entry("__class__", named("os", "system")),
    "items at once": lambda n: n + MADE + b"(" + n + b"Nu",
    "appended to": lambda n: n + MADE + named("os", "system") + b"a",
    "extended": lambda n: n + MADE + b"(" + n + n + MADE + b"e",
    "the last place of the memo": lambda n: n + MADE + b"r\xff\xff\xff\xff",
    "a key": lambda n: b"}" + n + MADE + b"Ns",
    "the name as a key": lambda n: b"}" + n + b"Ns",
    "the name as a value": lambda n: b"}" + text("a") + n + b"s",
}  # fmt: skip

# With the attack `a` too: what no file of weights needs.
REFUSED = {
    "called with an attack": lambda n, a: n + a + b"\x85R",
    "called with what is no tuple": lambda n, a: n + n + MADE + b"R",
    "an attack as its state": lambda n, a: n + MADE + a + b"b",
    "an attack among its items": lambda n, a: n + MADE + text("x") + a + b"s",
    "an attack appended": lambda n, a: n + MADE + a + b"a",
    "an object that is called": lambda n, a: n + MADE + MADE,
    "an object of an object": lambda n, a: n + MADE + b")\x81",
    "a new object of no tuple": lambda n, a: n + n + b"\x81",
    "NEWOBJ_EX": lambda n, a: n + b")}\x92",
    "INST": lambda n, a: b"(" + a + b"i" + n[1:],
    "OBJ": lambda n, a: b"(" + n + a + b"o",
    "EXT1": lambda n, a: b"\x82" + bytes([EXTENSION]) + a + b"\x85R",
    "EXT2": lambda n, a: b"\x83" + bytes([EXTENSION, 0]) + a + b"\x85R",
    "EXT4": lambda n, a: b"\x84" + bytes([EXTENSION, 0, 0, 0]) + a + b"\x85R",
    "an attribute that is called": lambda n, a: n[:-1] + b"-x.__init__\n)R",
    "the state of a name": lambda n, a: n + b"}b",
    "an item of a name": lambda n, a: n + text("x") + b"Ns",
    "something appended to a name": lambda n, a: n + b"Na",
    "a name alone": lambda n, a: n,
    "PERSID": lambda n, a: b"P" + n[1:].partition(b"\n")[2],
    "a persistent id": lambda n, a: n + MADE + b"Q",
    "a storage of its type": lambda n, a: (
        b"(" + text("storage") + n + text("0") + text("cpu") + b"K\x01tQ"
    ),
    "a storage of its name": lambda n, a: (
        b"(" + text("storage") + named("torch", "FloatStorage") + n + MADE
        + text("cpu") + b"K\x01tQ"
    ),
    "a key twice": lambda n, a: (
        b"}" + n + MADE + doubled(n + MADE) + b"bq\x00Ns" + b"h\x00Ns"
    ),
    "sets": lambda n, a: b"\x8f(" + n + MADE + b"\x90",
    "popped": lambda n, a: n + MADE + a + b"0",
    "a tensor of it": lambda n, a: (
        named("torch._utils", "_rebuild_tensor_v2") + b"(" + n + MADE
        + integer(0) + integers((1,)) * 2 + b"tR"
    ),
    "a tensor of its shape": lambda n, a: (
        named("torch._utils", "_rebuild_tensor_v2") + b"(" + storage("0", 1)
        + integer(0) + n + MADE + b"\x85" + integers((1,)) + b"tR"
    ),
    "a parameter of it": lambda n, a: (
        named("torch._utils", "_rebuild_parameter") + n + MADE + b"\x85R"
    ),
    "an ordered dict of it": lambda n, a: (
        named("collections", "OrderedDict") + n + MADE + b"\x85R"
    ),
}  # fmt: skip


@contextlib.contextmanager
def harmless(tmp_path, evil, *but):
    modules = set(sys.modules)
    with bounded(), nothing_runs(but=but):
        yield
    assert not evil and set(sys.modules) == modules
    assert not list(tmp_path.glob("canary*"))


PROTOCOLS = (b"", PROTO_2, b"\x80\x05")


@pytest.mark.slow
@pytest.mark.fault(29)
@pytest.mark.parametrize("placeholder", PLACEHOLDERS)
def test_a_placeholder_stays_inert(placeholder, tmp_path, evil):
    with harmless(tmp_path, evil):
        for form, protocol in itertools.product(INERT, PROTOCOLS):
            found = parse(protocol + INERT[form](name_of(placeholder)) + b".")
            inside = [found] if type(found) is Inert else [*found, *found.values()]
            assert any(type(each) in (Inert, Name) for each in inside), form


@pytest.mark.fault(29)
@pytest.mark.parametrize("placeholder", PLACEHOLDERS)
def test_what_no_file_of_weights_does_with_a_placeholder_is_refused(
    placeholder, tmp_path, evil, extension
):
    extension(placeholder)
    n, a = name_of(placeholder), attack(tmp_path / "canary")
    with harmless(tmp_path, evil):
        for form, protocol in itertools.product(REFUSED, PROTOCOLS):
            try:
                parse(protocol + REFUSED[form](n, a) + b".")
            except ValueError as error:
                assert len(str(error)) < SHORT, form
            else:
                raise AssertionError(form)


MADE_OF = (dict, collections.OrderedDict, Storage, Inert)


@pytest.mark.fault(29)
@pytest.mark.parametrize("known", GLOBALS)
def test_what_a_state_dict_is_made_of_runs_as_little(known, tmp_path, evil, extension):
    extension(known)
    n, a = name_of(known), attack(tmp_path / "canary")
    forms = {form: made(n) for form, made in INERT.items()}
    forms |= {form: made(n, a) for form, made in REFUSED.items()}
    with harmless(tmp_path, evil):
        for form, pickled in forms.items():
            try:
                found = parse(PROTO_2 + pickled + b".")
            except ValueError as error:
                assert len(str(error)) < SHORT, form
            else:
                assert type(found) in MADE_OF, form


HARMFUL = ("called with an attack", "an attack as its state", "INST", "OBJ", "popped")


@pytest.mark.parametrize("form", [*HARMFUL, "EXT1", "EXT2", "EXT4"])
def test_python_would_have_run_the_attack(form, tmp_path, extension):
    extension("argparse.Namespace")
    pickled = REFUSED[form](name_of("argparse.Namespace"), attack(tmp_path / "canary"))
    with contextlib.suppress(Exception):
        pickle.loads(pickled + b".")
    assert (tmp_path / "canary").exists()


def test_python_would_have_made_the_hostile_members(evil):
    for member in MEMBERS.values():
        evil.clear()
        pickle.loads(name_of(member) + MADE + b"}" + entry("x", b"N") + b"b.")
        assert {"new", "setstate"} <= set(evil)


# In the place of the model or of a part of it, `x`.
WHOLE = {
    "alone": lambda x: x + b".",
    "as the model": lambda x: b"}" + entry("model", x) + b".",
    "as a tensor": lambda x: b"}" + entry("wte.weight", x) + b".",
    "as the name of a tensor": lambda x: (
        b"}" + x + tensor(storage("0", 2), (2,)) + b"s."
    ),
    "as each": lambda x: b"}" + x + x + b"s" + entry("config", x) + b".",
}


@pytest.mark.fault(29)
@pytest.mark.parametrize("placeholder", PLACEHOLDERS)
def test_in_the_place_of_a_model_a_placeholder_is_refused_in_few_words(
    placeholder, tmp_path, evil
):
    n = name_of(placeholder)
    held = n + MADE + doubled(n + MADE) + b"b"
    path = tmp_path / "x.pth"
    pack(path, b"}.")
    with pytest.raises(WeightsError):
        load_pretrained(path)  # which imports what it needs
    for form, made in WHOLE.items():
        pack(path, PROTO_2 + made(held), {"0": bytes(8)})
        with harmless(tmp_path, evil), pytest.raises(WeightsError) as caught:
            load_pretrained(path)
        assert len(str(caught.value)) < SHORT, form


@pytest.fixture
def with_beside(tmp_path):
    """Writes a model and, beside it, a placeholder that is full of itself."""

    def write(key):
        n = name_of("__main__.Evil")
        held = n + MADE + doubled(n + MADE) + b"b"
        sizes = ("block_size", "vocab_size", "n_layer", "n_head", "n_embd")
        fields = b"}" + b"".join(entry(size, held) for size in sizes)
        state = to_state_dict(random_params(TINY), LLMS_FROM_SCRATCH)
        beside = {"lr": held, key: n + MADE + fields + b"b"}
        return pack_arrays(tmp_path / "x.pth", state, beside)

    return write


@pytest.mark.fault(29)
@pytest.mark.parametrize("key", ["args", "model_args"])
def test_beside_a_model_a_placeholder_changes_nothing(key, tmp_path, evil, with_beside):
    path = with_beside(key)
    load_pretrained(path, num_heads=TINY.num_heads)  # which imports what it needs
    with harmless(tmp_path, evil, "exec"):  # beartype's, of the model's shapes
        config, params = load_pretrained(path, num_heads=TINY.num_heads)
    assert config == TINY
    expected = random_params(TINY)["wte"]["embedding"]
    np.testing.assert_array_equal(params["wte"]["embedding"], expected)


@pytest.mark.fault(29)
def test_sizes_that_are_placeholders_are_refused_in_few_words(
    tmp_path, evil, with_beside
):
    path = with_beside("config")
    with (
        harmless(tmp_path, evil),
        pytest.raises(WeightsError, match="config") as caught,
    ):
        load_pretrained(path)
    assert len(str(caught.value)) < SHORT

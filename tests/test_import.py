import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import gpt2_jax

ROOT = Path(__file__).parents[1]

HEAVY = {"jax", "jaxlib", "flax", "optax", "orbax", "tiktoken", "requests"}
EXTRAS = {"torch", "transformers", "llms_from_scratch", "matplotlib", "sklearn"}
EXTRAS |= {"pyarrow", "tensorboardX", "wandb"}
EXTRAS |= {"fastapi", "starlette", "uvicorn", "h11", "pydantic", "prometheus_client"}
# What serves is the extra `serve`; only its command is imported without. The estimator
# is of scikit-learn.
EVERY_MODULE = """
import importlib, pkgutil, gpt2_jax
for module in pkgutil.walk_packages(gpt2_jax.__path__, "gpt2_jax."):
    needs_extra = module.name.startswith("gpt2_jax.serve.")
    needs_extra |= module.name == "gpt2_jax.training.estimator"
    if module.name != "gpt2_jax.__main__" and not needs_extra:
        importlib.import_module(module.name)
import gpt2_jax.cli.serve
"""


def python(code: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def loaded_after(code: str) -> set[str]:
    show = "import sys; print(*{name.split('.')[0] for name in sys.modules})"
    return set(python(f"{code}\n{show}").split())


def test_importing_the_package_imports_nothing_heavy():
    loaded = loaded_after("import gpt2_jax")
    assert "gpt2_jax" in loaded
    assert not loaded & (HEAVY | EXTRAS)


def test_the_command_line_answers_usage_without_jax():
    loaded = loaded_after("import gpt2_jax.cli.main as cli\ncli.build_parser()")
    assert not loaded & (HEAVY | EXTRAS)


@pytest.mark.slow
def test_importing_every_module_imports_no_extra():
    loaded = loaded_after(EVERY_MODULE)
    assert "orbax" in loaded  # all of them were imported
    assert not loaded & EXTRAS


def test_importing_every_module_starts_no_backend():
    # jax has no public way to ask; the second line shows that the question works
    python(
        f"{EVERY_MODULE}\nimport gpt2_jax.serve.server\n"
        "from jax._src import xla_bridge as bridge\n"
        "assert not bridge._backends, bridge._backends\n"
        "import jax; jax.devices('cpu'); assert bridge._backends"
    )


def test_every_promised_name_is_there():
    import gpt2_jax

    for name in gpt2_jax.__all__:
        assert getattr(gpt2_jax, name).__name__ == name


def test_dir_shows_every_promised_name_without_importing_it():
    shown = python("import gpt2_jax; print(*dir(gpt2_jax))").split()
    import gpt2_jax

    assert set(gpt2_jax.__all__) == set(gpt2_jax._HOMES) <= set(shown)
    assert "__version__" in shown
    loaded = loaded_after("import gpt2_jax; dir(gpt2_jax)")
    assert not loaded & (HEAVY | EXTRAS)


def test_what_the_readmes_heart_uses_is_promised():
    import gpt2_jax

    names = {"load_pretrained", "to_classifier", "label_params", "create_optimizer"}
    names |= {"TrainConfig", "create_train_state", "train_step", "finetune"}
    assert names <= set(gpt2_jax.__all__)


def test_an_unknown_name_is_an_attribute_error():
    import gpt2_jax

    assert not hasattr(gpt2_jax, "gpt3")


def test_the_version_stands_once():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert project["project"]["dynamic"] == ["version"]
    source = ROOT / project["tool"]["hatch"]["version"]["path"]
    places = [
        path
        for path in (ROOT / "gpt2_jax").rglob("*.py")
        if re.search(rf"['\"]{re.escape(gpt2_jax.__version__)}['\"]", path.read_text())
    ]
    assert places == [source]


def test_a_type_checker_is_told_that_the_package_has_types():
    """PEP 561: the marker lies where hatchling takes everything of the package."""
    (folder,) = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"][
        "hatch"
    ]["build"]["targets"]["wheel"]["packages"]
    assert (ROOT / folder / "py.typed").read_bytes() == b""

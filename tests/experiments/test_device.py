"""The acceptance on a device, dry: every part runs, what takes too long is ended."""

from __future__ import annotations

import json
import time

import pytest
from training_helpers import weights

from experiments.benchmarks import device


@pytest.mark.slow
def test_a_dry_run_passes_every_part_and_writes_its_page(tmp_path_factory, tmp_path):
    named = str(weights(tmp_path_factory))
    argv = ["--dry-run", "--weights", named, "--output", str(tmp_path)]
    argv += ["--minutes", "60"]
    assert device.main(argv) == 0
    report = json.loads((tmp_path / "device-dry.json").read_text())
    found = report["parts"]
    assert {name: part["outcome"] for name, part in found.items()} == dict.fromkeys(
        found, "passed"
    )
    assert set(found) >= {"parity: float32", "parity: bfloat16", "attention", "flops"}
    assert found["resume"]["found"]["leaves that differ"] == 0
    assert found["wrappers"]["found"]["steps"] > 1
    assert found["throughput"]["found"]["tokens per second"] > 0
    assert "of matmul" in found["flops"]["found"][-1]
    page = (tmp_path / "device-dry.md").read_text()
    assert all(f"| {name} | passed |" in page for name in found)


def test_every_part_has_a_limit_and_the_peers_are_for_the_device(tmp_path):
    dry, whole = (device.parts("mini", tmp_path, dry=dry) for dry in (True, False))
    assert {part.name for part in whole} - {part.name for part in dry} == {"peers"}
    assert all(0 < part.seconds < 8 * 60 for part in whole)


def test_what_fails_takes_too_long_or_lacks_something_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(device, "HERE", tmp_path)
    monkeypatch.setattr(device, "LEAST", 0.2)
    (tmp_path / "sleeps.py").write_text("import time; time.sleep(600)")
    (tmp_path / "fails.py").write_text('print(\'{"failed": ["x"]}\'); 1 / 0')
    started = time.perf_counter()

    def run(script, limit, needs=()):
        return device.run(device.Part("part", script, (), 9, needs), limit, {})

    assert run("sleeps.py", 1.0)["outcome"] == "stopped"
    assert time.perf_counter() - started < 300
    failed = run("fails.py", 60.0)
    assert failed["outcome"] == "failed" and failed["found"] == {"failed": ["x"]}
    assert "ZeroDivisionError" in failed["errors"][-1]
    assert run("sleeps.py", 0.1)["why"] == "no time left"
    assert run("sleeps.py", 9.0, ("no_such_package",))["why"] == "needs no_such_package"
    report = {"command": "", "facts": {}, "parts": {"part": failed}}
    assert "| part | failed |" in device.page(report)

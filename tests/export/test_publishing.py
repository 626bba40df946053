"""What docs/weights.md says of publishing is done, with `hf` itself and a hub here."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from file_server import serve
from hub_server import accept_uploads, use
from report_helpers import make_report
from training_helpers import random_run

from gpt2_jax.cli.main import main
from gpt2_jax.evaluation.model_card import write_model_card
from gpt2_jax.export.classifier import export_run
from gpt2_jax.inference.classifier import Classifier

hub = pytest.importorskip("huggingface_hub")
PAGE = Path(__file__).parents[2] / "docs" / "weights.md"
COMMIT = "c" * 40


def recipe():
    """The command that uploads, and the one that uses what was uploaded."""
    page = PAGE.read_text("utf-8")
    (upload,) = re.findall(r"^hf upload .*$", page, re.M)
    (then,) = re.findall(r"^Then `gpt2-jax (predict owner/name .*?)`", page, re.M)
    return shlex.split(upload), shlex.split(then)


@pytest.mark.slow
def test_a_published_classifier_is_the_runs_wherever_it_is_used(
    tmp_path, monkeypatch, capsys
):
    run = random_run(tmp_path / "run")
    write_model_card(make_report(tmp_path)).rename(run / "MODEL_CARD.md")
    folder = tmp_path / "exported"
    export_run(run, folder, "hf")
    upload, predict = recipe()
    monkeypatch.chdir(tmp_path)  # where no owner/name lies
    with serve() as server:
        use(server, monkeypatch, str(tmp_path / "hub"))
        accept_uploads(server, COMMIT)
        there = {
            "HF_TOKEN": "hf_secret",
            "HF_HOME": str(tmp_path / "home"),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            # Its protocol for large files is another; Git LFS's is what any hub has.
            "HF_HUB_DISABLE_XET": "1",
        }
        command = [str(Path(sys.executable).with_name("hf"))]
        command += [str(folder) if word == "DST" else word for word in upload[1:]]
        done = subprocess.run(
            command, env=os.environ | there, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "Bearer hf_secret" in server.tokens

        written = {
            str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }
        prefix = f"/owner/name/resolve/{COMMIT}/"
        published = {
            path.removeprefix(prefix): answer.body
            for path, answer in server.answers.items()
            if path.startswith(prefix)
        }
        assert published == written
        card = hub.ModelCard(published["README.md"].decode())
        assert card.data.library_name == "transformers" and card.data.eval_results

        assert main(predict) == 0
        found = Classifier.from_weights("owner/name")
    said, text = capsys.readouterr().out, predict[-1]
    ours, theirs = (each.classify([text])[0] for each in (Classifier.load(run), found))
    assert ours.label == theirs.label and said.startswith(ours.label)
    assert theirs.probs == pytest.approx(ours.probs, rel=0, abs=1e-5)

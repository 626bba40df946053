"""A classifier in other processes: pickled, spawned, forked."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from training_helpers import random_run

from gpt2_jax.inference.classifier import Classifier

_TEXTS = ["free prize", "", "see you at lunch 🎉"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return random_run(tmp_path_factory.mktemp("run"))


@pytest.mark.parametrize("positive", [None, "ham"])
def test_a_pickled_classifier_is_the_same_one(run, positive):
    classifier = Classifier.load(run)
    classifier.positive = positive
    classifier.threshold = positive and (0, 0.7)
    again = pickle.loads(pickle.dumps(classifier))
    np.testing.assert_array_equal(again.logits(_TEXTS), classifier.logits(_TEXTS))
    assert again.labels == classifier.labels
    assert (again.positive, again.threshold) == (positive, classifier.threshold)


@pytest.mark.slow
def test_a_spawned_process_takes_a_classifier(run):
    classifier = Classifier.load(run)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        got = pool.apply(classifier.predict, (_TEXTS,))
    assert got == classifier.predict(_TEXTS)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("what", ["classifier.predict(['a'])", "Classifier.load(run)"])
def test_a_fork_says_what_it_cannot_do_and_does_not_hang(run, what):
    code = f"""
import os, sys, warnings
warnings.simplefilter("ignore")  # jax warns of the fork itself
from gpt2_jax import Classifier
run = {str(run)!r}
classifier = Classifier.load(run)
if not os.fork():
    try:
        {what}
    except RuntimeError as error:
        print(error, flush=True)
    os._exit(0)
os.wait()
print(classifier.predict(["a"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    said, answer = done.stdout.splitlines()
    assert "jax does not survive a fork; start it with" in said and "'spawn'" in said
    assert answer in ("['ham']", "['spam']")


def test_a_classifier_says_what_it_is(run):
    assert repr(Classifier.load(run)) == (
        "<Classifier of 2 classes (ham, spam), GPT-2 of 3 layers of 12, pool last_real,"
        " up to 20 tokens>"
    )

"""The page in a browser: examples, keys, programs to copy, classes apart."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from page_helpers import MESSAGE, classify_lines, column, spam, type_message
from serve_helpers import StubClassifier, serving

pytestmark = pytest.mark.slow


def test_an_example_is_labelled_with_one_click(open_page):
    with serving(StubClassifier(spam), examples=("win a prize", "lunch?")) as service:
        page = open_page(service.url)
        page.get_by_role("button", name="win a prize").click()
        page.wait_for_selector("#result:not(.stale) .word")
        assert page.locator("#label").inner_text() == "spam"
        assert page.get_by_label("Message", exact=True).input_value() == "win a prize"
    assert page.get_by_role("button", name="lunch?").is_visible()


def test_without_examples_there_is_no_empty_row(open_page, url):
    assert open_page(url).locator("#examples").is_hidden()


def test_ctrl_enter_asks_at_once_and_classifies_lines(open_page, url):
    page = open_page(url)
    page.clock.install()  # no pause ends by itself
    page.keyboard.type(MESSAGE)
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#result:not([hidden])")
    page.get_by_role("tab", name="Many messages").click()
    page.get_by_label("Messages, one on each line").fill("prize\nlunch")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#results:not([hidden])")
    assert column(page, 4) == ["prize", "lunch"]


@pytest.mark.parametrize("secret", [None, "token"])
def test_what_is_copied_runs_and_gives_the_answer_of_the_page(open_page, secret):
    text = """it's a "prize" \\ $HOME `id` & naïve 🎉"""
    with serving(StubClassifier(spam), token=secret) as service:
        page = open_page(service.url)
        type_message(page, text)
        if secret:
            page.get_by_label("access token").fill(secret)
            page.get_by_role("button", name="Continue").click()
        page.wait_for_selector("#result:not(.stale) .word")
        page.get_by_text("Ask this from a program").click()
        page.get_by_label("Give no label below").fill("90")
        page.locator("#label", has_text="No label").wait_for()
        env = {"PATH": "/usr/bin:/bin", "GPT2_JAX_TOKEN": secret or ""}
        curl = page.locator("#curl").text_content()
        done = subprocess.run(["bash", "-c", curl], capture_output=True, env=env)
        (answer,) = json.loads(done.stdout)["results"]
        assert answer["label"] is None and answer["prob"] == pytest.approx(spam(text))
        python = page.locator("#python").text_content()
        command = [sys.executable, "-c", python]
        done = subprocess.run(command, capture_output=True, env=env, text=True)
        assert done.stdout == f"[{answer}]\n", done.stderr
        page.get_by_role("button", name="Copy as curl").click()
        page.wait_for_selector("#copied:not(:empty)")
        assert page.evaluate("getSelection().toString()").strip() == curl.strip()


def test_classes_have_columns_to_sort_by_and_one_can_be_shown_alone(open_page, url):
    page = open_page(url)
    classify_lines(page, "lunch\nprize\nprize prize\nlunch lunch")
    assert page.locator("#head th").all_text_contents()[4:] == ["ham", "spam"]
    page.locator("#head").get_by_role("button", name="spam").click()
    assert column(page, 6) == ["90.0%", "70.0%", "40.0%", "30.0%"]
    page.get_by_label("Show", exact=True).select_option("ham")
    assert column(page, 2) == ["ham", "ham"]
    page.get_by_label("Show", exact=True).select_option("")
    assert len(column(page, 2)) == 4


@pytest.mark.parametrize("size", [(1280, 720), (390, 700)])
def test_the_answer_stays_in_view_for_long_texts(open_page, url, size):
    width, height = size
    page = open_page(url, viewport={"width": width, "height": height})
    type_message(page, "a prize and lunch, again\n" * 80)
    page.wait_for_selector("#result:not(.stale)")
    for _ in range(2):
        box = page.locator("#verdict").bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= height
        page.locator("#reading").scroll_into_view_if_needed()
    assert page.evaluate("document.documentElement.scrollWidth") <= width

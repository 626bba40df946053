"""The page: its files by themselves, and in a browser."""

from __future__ import annotations

import importlib.resources
import re
from typing import Any

import httpx
import pytest
from page_helpers import MESSAGE, classify_lines, column, spam, type_message
from serve_helpers import StubClassifier, serving

_MARKUP = "<img src=x onerror=alert(1)><script>alert(2)</script><b>bold</b>"


def _files() -> dict[str, str]:
    folder = importlib.resources.files("gpt2_jax") / "serve" / "page"
    return {file.name: file.read_text("utf-8") for file in folder.iterdir()}


def test_the_page_is_made_of_its_own_files_alone(service):
    files = _files()
    for name, content in files.items():
        names = re.findall(r'(?:href|src)="([^"]*)"|from "([^"]*)"', content)
        for path in filter(None, (path for pair in names for path in pair)):
            assert path.removeprefix("./") in files, f"{name}: {path}"
        urls = re.findall(r"https?://[^\s\"')]+", content)
        assert set(urls) <= {"http://www.w3.org/2000/svg"}, name
    for name, content in files.items():
        path = "/" if name == "index.html" else f"/{name}"
        response = httpx.get(service.url + path)
        assert response.text == content
        kind = {"html": "html", "css": "css", "js": "javascript", "svg": "svg"}
        assert kind[name.rpartition(".")[2]] in response.headers["content-type"]


@pytest.mark.fault(44)
def test_no_text_can_become_markup():
    for name, content in _files().items():
        for way in (
            "innerHTML",
            "outerHTML",
            "insertAdjacent",
            "document.write",
            "eval",
        ):
            assert way not in content, name
        assert not re.search(r"<style|<script>|\sstyle=|\son\w+=", content), name


@pytest.mark.slow
def test_a_message_is_labelled_and_its_words_are_marked_as_one_types(open_page, url):
    page = open_page(url)
    page.keyboard.type(MESSAGE)  # the field has the focus
    page.wait_for_selector("#result:not(.stale) .word")
    assert page.locator("#verdict").inner_text() == "spam 60.0%"
    assert page.locator("#spoken").text_content() == "spam, 60.0%"
    assert page.locator("#bars dt").all_text_contents() == ["spam", "ham"]
    assert page.locator("#reading").text_content() == MESSAGE
    assert page.locator("#reading .for").all_text_contents() == ["prize"]
    assert page.locator("#reading .against").all_text_contents() == ["lunch"]
    type_message(page, "")
    page.wait_for_selector("#result", state="hidden")


@pytest.mark.slow
def test_words_are_marked_at_their_place_beyond_the_basic_plane(open_page, url):
    page = open_page(url)
    type_message(page, "🎉🎉 a prize 🎉")
    page.wait_for_selector("#result:not(.stale) .word")
    assert page.locator("#reading .for").all_text_contents() == ["prize"]


@pytest.mark.fault(44)
@pytest.mark.slow
def test_markup_in_a_message_or_a_label_is_shown_as_it_is(open_page):
    stub = StubClassifier()
    stub.labels = (_MARKUP, "spam")
    with serving(stub) as service:
        page = open_page(service.url)
        type_message(page, _MARKUP)
        page.wait_for_selector("#result:not(.stale) .word")
        assert page.locator("#reading").text_content() == _MARKUP
        assert page.locator("#label").text_content() == _MARKUP
        classify_lines(page, _MARKUP)
        assert column(page, 4) == column(page, 2) == [_MARKUP]
        assert page.locator("img, main script, main td b").count() == 0


@pytest.mark.slow
def test_what_goes_wrong_is_said_in_words_and_passes(open_page, url):
    page = open_page(url)
    page.context.set_offline(True)
    type_message(page, MESSAGE)
    page.wait_for_selector("#one-error:not([hidden])")
    assert "cannot be reached" in page.locator("#one-error").text_content()
    page.context.set_offline(False)
    type_message(page, "x" * 70000)
    page.get_by_text("This message is too long").wait_for()
    type_message(page, MESSAGE)
    page.wait_for_selector("#result:not(.stale) .word")
    assert page.locator("#one-error").is_hidden()
    classify_lines(page, "prize\n" + "x" * 70000)
    assert "2 messages" in page.locator("#summary").text_content()
    assert column(page, 4)[0] == "prize"


@pytest.mark.slow
def test_a_busy_service_is_asked_again(open_page, url):
    page = open_page(url)
    refusals = [429, 503]

    def refuse(route: Any) -> None:
        if not refusals:
            route.continue_()
            return
        headers = {"retry-after": "1", "content-type": "application/json"}
        route.fulfill(status=refusals.pop(), headers=headers, body="{}")

    page.route("**/v1/classify", refuse)
    type_message(page, MESSAGE)
    page.wait_for_selector("#result:not(.stale) .word")
    assert not refusals


@pytest.mark.slow
def test_the_page_asks_for_the_token(open_page):
    with serving(StubClassifier(spam), token="s3cret") as service:
        page = open_page(service.url)
        type_message(page, MESSAGE)
        for token in ("wrong", "s3cret"):
            page.get_by_label("access token").fill(token)
            page.get_by_role("button", name="Continue").click()
            page.wait_for_selector("#access", state="hidden" if "3" in token else None)
        page.wait_for_selector("#result:not(.stale) .word")
        assert page.locator("#one-error").is_hidden()


@pytest.mark.slow
def test_the_tabs_are_worked_with_the_arrow_keys(open_page, url):
    page = open_page(url)
    page.get_by_role("tab", name="One message").focus()
    for name, panel in (("Many messages", "#many"), ("One message", "#one")):
        page.keyboard.press("ArrowRight")
        assert (
            page.get_by_role("tab", name=name).get_attribute("aria-selected") == "true"
        )
        assert page.evaluate("document.activeElement.textContent") == name
        assert page.locator(panel).is_visible()
    width = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    assert width == "3px"  # the focus can be seen


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation_in_any_state(scheme, width, open_page, url):
    axe = pytest.importorskip("axe_playwright_python", reason="axe is missing")
    source = (importlib.resources.files(axe) / "axe.min.js").read_text("utf-8")
    viewport = {"width": width, "height": 800}
    page = open_page(url, color_scheme=scheme, viewport=viewport)

    def check(state: str) -> None:
        page.evaluate(source)
        found = page.evaluate("axe.run()")
        assert found["passes"]
        assert [v["id"] for v in found["violations"]] == [], state
        overflows = "document.documentElement.scrollWidth > window.innerWidth"
        assert not page.evaluate(overflows), state

    check("empty")
    type_message(page, MESSAGE * 3)
    page.wait_for_selector("#result:not(.stale) .word")
    page.wait_for_timeout(300)  # a colour in transition has no contrast to speak of
    check("one message")
    classify_lines(page, "\n".join([MESSAGE, "W" * 300]))
    check("many messages")
    page.context.set_offline(True)
    page.get_by_role("button", name="Classify").click()
    page.wait_for_selector("#many-error:not([hidden])")
    check("error")
    page.evaluate("document.dispatchEvent(new Event('token-needed'))")
    check("token")

"""The page in a browser: its label, bars and words agree with the decision."""

from __future__ import annotations

import pytest
from page_helpers import classify_lines, column, type_message
from serve_helpers import StubClassifier, serving


def _spam(text: str) -> float:
    return 0.45 if "prize" in text else 0.1


@pytest.mark.slow
def test_label_bar_words_and_threshold_agree(open_page):
    with serving(StubClassifier(_spam, threshold=(1, 0.4))) as service:
        page = open_page(service.url)
        type_message(page, "free prize at lunch")
        page.wait_for_selector("#result:not(.stale) .word")
        assert page.locator("#verdict").inner_text() == "spam 45.0%"
        assert page.locator("#bars dt").all_text_contents() == ["ham", "spam"]
        best = page.locator("#bars .best")
        assert best.count() == 1
        assert best.evaluate("e => e.previousSibling.textContent") == "spam"
        assert page.locator("#reading .for").all_text_contents() == ["prize"]
        assert page.locator("#legend-label").text_content() == "spam"
        told = page.locator("#decision").text_content()
        assert told == "spam is given from 40.0% on."


@pytest.mark.slow
def test_no_label_is_shown_below_the_probability_that_is_asked_for(open_page):
    with serving(StubClassifier(_spam)) as service:
        page = open_page(service.url)
        type_message(page, "free prize")
        page.wait_for_selector("#result:not(.stale) .word")
        assert page.locator("#decision").text_content() == ""
        page.get_by_label("Give no label below").fill("60")
        page.locator("#verdict", has_text="No label").wait_for()
        assert page.locator("#bars .best").count() == 0
        assert "55.0% is below 60.0%" in page.locator("#decision").text_content()
        classify_lines(page, "free prize\nlunch")
        assert column(page, 2) == ["No label", "ham"]
        assert "1 No label" in page.locator("#summary").text_content()

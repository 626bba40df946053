"""The page in a browser: many messages at once."""

from __future__ import annotations

import csv
import io
import threading

import httpx
import pytest
from page_helpers import choose, classify_lines, column, spam
from serve_helpers import StubClassifier, serving


@pytest.mark.slow
def test_many_lines_become_a_table_to_sort_and_to_download(open_page, url):
    page = open_page(url)
    lines = ["prize", "lunch", 'a, "quoted" prize prize', "=1+1", *["x"] * 130]
    classify_lines(page, "\r\n\n".join(lines))
    assert column(page, 4) == lines
    assert "134 messages:" in page.locator("#summary").text_content()
    by_probability = page.get_by_role("button", name="Probability")
    by_probability.click()
    by_probability.click()
    header = page.locator('th[aria-sort="descending"]')
    assert header.text_content() == "Probability"
    got = [float(cell.removesuffix("%")) for cell in column(page, 3)]
    assert got == sorted(got, reverse=True) and got[0] == 90
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    with open(download.value.path(), newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    harmless = ["'=1+1" if line == "=1+1" else line for line in lines]
    assert [row["text"] for row in rows] == harmless
    assert [float(row["p_spam"]) for row in rows] == pytest.approx(
        [spam(line) for line in lines]
    )


@pytest.mark.slow
def test_the_column_of_a_csv_file_is_classified_cell_by_cell(open_page, url):
    page = open_page(url)
    texts = ['two\nlines, "quoted"', "prize", "", "naïve 🎉"]
    file = io.StringIO()
    csv.writer(file).writerows([["id", "Text"], *enumerate(texts)])
    choose(page, "messages.csv", ("\ufeff" + file.getvalue()).encode())
    page.get_by_label("Column").wait_for()
    assert page.get_by_label("Column").input_value() == "Text"
    page.get_by_role("button", name="Classify").click()
    page.wait_for_selector("#results:not([hidden])")
    assert column(page, 4) == texts
    page.get_by_label("Column").select_option("id")
    page.get_by_role("button", name="Classify").click()
    page.locator("#rows tr:nth-child(4) td.text", has_text="3").wait_for()
    assert column(page, 4) == ["0", "1", "2", "3"]


@pytest.mark.slow
def test_more_results_than_one_looks_at_are_shown_on_demand(open_page, url):
    page = open_page(url)
    classify_lines(page, "\n".join(f"line {i}" for i in range(450)))
    for shown in (200, 400, 450):
        assert len(column(page, 1)) == shown
        if shown < 450:
            page.get_by_role("button", name="Show more").click()
    assert page.get_by_role("button", name="Show more").is_hidden()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"text\n", "a header but no rows"),
        ("a.csv", b'text\n"open', "check the quotes"),
        ("a.csv", b"text\n\xff\xfe\n", "not UTF-8"),
        ("a.txt", b"x\n" * 50_001, "larger than 100000 bytes"),
    ],
)
def test_a_file_that_cannot_be_used_is_said_to_be_and_leaves_nothing(
    name, content, message, open_page
):
    with serving(StubClassifier(spam), max_file=100_000) as service:
        page = open_page(service.url)
        classify_lines(page, "an older line")
        choose(page, name, content)
        page.wait_for_selector("#many-error:not([hidden])")
        assert message in page.locator("#many-error").text_content()
        assert page.locator("#lines").input_value() == ""
        assert page.locator("#results").is_hidden()


@pytest.mark.slow
def test_a_download_keeps_every_column_and_empty_cells_are_marked(open_page, url):
    page = open_page(url)
    choose(page, "a.csv", b"label,text,=x\r\n1,free prize,-2\r\n2,,\r\n")
    page.get_by_label("Column").wait_for()
    page.get_by_role("button", name="Classify").click()
    page.wait_for_selector("#results:not([hidden])")
    assert page.locator("#rows td.empty").count() == 1
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    with open(download.value.path(), "rb") as file:
        content = file.read()
    query = {"name": "a.csv", "format": "csv"}
    answer = httpx.post(
        f"{url}/v1/table",
        params=query,
        content=b"label,text,=x\r\n1,free prize,-2\r\n2,,\r\n",
        headers={"content-type": "application/octet-stream"},
    )
    assert content == answer.content
    assert content.startswith(b"label,text,'=x,predicted_label,prob,p_ham,p_spam,")


@pytest.mark.slow
def test_a_long_file_can_be_stopped_and_what_is_done_is_kept(open_page):
    go = threading.Event()

    def answer(text: str) -> float:
        if text == "row 200":
            go.wait(30)
        return spam(text)

    with serving(StubClassifier(answer)) as service:
        page = open_page(service.url)
        choose(page, "a.txt", "\n".join(f"row {i}" for i in range(2000)).encode())
        page.locator("#file-name", has_text="a.txt").wait_for()
        page.get_by_role("button", name="Classify").click()
        page.locator("#progress-text", has_text=" of 2000").wait_for()
        page.get_by_role("button", name="Stop").click()
        page.locator("#many-error", has_text="Stopped.").wait_for()
        assert "of 2000 are done" in page.locator("#many-error").text_content()
        assert column(page, 4)[0] == "row 0"
        go.set()

"""The page in a browser: many messages at once."""

from __future__ import annotations

import csv
import io

import pytest
from page_helpers import classify_lines, column, spam


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
    assert [row["text"] for row in rows] == lines
    assert [float(row["p_spam"]) for row in rows] == pytest.approx(
        [spam(line) for line in lines]
    )


@pytest.mark.slow
def test_the_column_of_a_csv_file_is_classified_cell_by_cell(open_page, url):
    page = open_page(url)
    texts = ['two\nlines, "quoted"', "prize", "", "naïve 🎉"]
    file = io.StringIO()
    csv.writer(file).writerows([["id", "Text"], *enumerate(texts)])
    page.get_by_role("tab", name="Many messages").click()
    page.locator("#file").set_input_files(
        {
            "name": "messages.csv",
            "mimeType": "text/csv",
            "buffer": ("\ufeff" + file.getvalue()).encode(),
        }
    )
    page.get_by_label("Column").wait_for()
    assert page.get_by_label("Column").input_value() == "1"
    page.get_by_role("button", name="Classify").click()
    page.wait_for_selector("#results:not([hidden])")
    assert column(page, 4) == texts
    page.get_by_label("Column").select_option("id")
    page.get_by_role("button", name="Classify").click()
    page.locator("#rows tr:nth-child(4) td:last-child", has_text="3").wait_for()
    assert column(page, 4) == ["0", "1", "2", "3"]


@pytest.mark.slow
def test_more_results_than_one_looks_at_are_shown_on_demand(open_page, url):
    page = open_page(url)
    classify_lines(page, "\n".join(map(str, range(450))))
    for shown in (200, 400, 450):
        assert len(column(page, 1)) == shown
        if shown < 450:
            page.get_by_role("button", name="Show more").click()
    assert page.get_by_role("button", name="Show more").is_hidden()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"text\n", "no rows below its header"),
        ("a.csv", b'text\n"open', "never closed"),
        ("a.csv", b"text\n\xff\xfe\n", "not UTF-8"),
        ("a.txt", b"x" * 10_000_001, "larger than 10 MB"),
    ],
)
def test_a_file_that_cannot_be_used_is_said_to_be(
    name, content, message, open_page, url
):
    page = open_page(url)
    page.get_by_role("tab", name="Many messages").click()
    file = {"name": name, "mimeType": "text/csv", "buffer": content}
    page.locator("#file").set_input_files(file)
    page.wait_for_selector("#many-error:not([hidden])")
    assert message in page.locator("#many-error").text_content()

"""The page in a browser: how it is opened, and what one does there."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

ARGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
MESSAGE = "win a prize today, see you at lunch"

Page = Any  # playwright's; it may be missing


def spam(text: str) -> float:
    """Each "prize" makes spam likelier, each "lunch" less."""
    return min(max(0.5 + 0.2 * text.count("prize") - 0.1 * text.count("lunch"), 0), 1)


@contextlib.contextmanager
def opening(browser: Any) -> Iterator[Callable[..., Page]]:
    """Open the page of a service; nothing may go wrong unseen while it is open."""
    contexts, wrong = [], []

    def open_at(url: str, **options: Any) -> Page:
        options = {"viewport": {"width": 1280, "height": 900}, **options}
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.set_default_timeout(30000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: wrong.append(dialog.message))
        page.on(
            "console",
            # a refused request is logged by the browser, and shown by the page
            lambda line: "Failed to load" in line.text or wrong.append(line.text),
        )
        page.on(
            "request",
            lambda request: (
                request.url.startswith((url, "blob:")) or wrong.append(request.url)
            ),
        )
        page.goto(url)
        page.wait_for_selector("#state.ready")
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert not wrong


def type_message(page: Page, text: str) -> None:
    page.get_by_label("Message", exact=True).fill(text)


def classify_lines(page: Page, lines: str) -> None:
    page.get_by_role("tab", name="Many messages").click()
    page.get_by_label("Messages, one on each line").fill(lines)
    page.get_by_role("button", name="Classify").click()
    page.wait_for_selector("#results:not([hidden])")


def choose(page: Page, name: str, content: bytes) -> None:
    page.get_by_role("tab", name="Many messages").click()
    page.locator("#file").set_input_files(
        {"name": name, "mimeType": "text/csv", "buffer": content}
    )


def column(page: Page, index: int) -> list[str]:
    return page.locator(f"#rows td:nth-child({index})").all_text_contents()

"""The page in headless Chromium, where it is installed (Debian: `apt install chromium`, `pip install playwright`)."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from realizar.testing.conversations import THINKING

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

KEY = "a key that the page is given"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One Chromium for all tests."""
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Any]:
    """Opens the page at a URL; the test fails on any error in it or anything that its policy stopped."""
    problems: list[str] = []
    contexts: list[Any] = []

    def open_(url: str, **options: Any) -> Any:
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text) if _is_policy(message) else None)
        page.goto(url)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert problems == []


def _is_policy(message: Any) -> bool:
    return "Content Security Policy" in message.text


def _keep(page: Any, name: str) -> None:
    """A picture for people to look at, in the folder that REALIZAR_SCREENSHOTS names."""
    if folder := os.environ.get("REALIZAR_SCREENSHOTS"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"))


def _ask(page: Any, text: str) -> None:
    page.fill("#text", text)
    page.press("#text", "Enter")


def _answered(page: Any, count: int = 1) -> None:
    page.wait_for_function(
        "n => document.querySelectorAll('.message.assistant:not([aria-busy])').length >= n", arg=count, timeout=60_000
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_question_is_answered(running, pool_of, llm, open_page, scheme):
    with running(pool_of(tiny=llm)) as url:
        page = open_page(url, color_scheme=scheme)
        page.wait_for_selector("#model option", state="attached")
        assert page.eval_on_selector_all("#model option", "all => all.map(o => o.value)") == ["tiny"]
        page.click("#show-controls")
        page.fill("[name=max_tokens]", "24")
        page.fill("[name=seed]", "7")
        _ask(page, "Hello <b>there</b>")
        _answered(page)
        _keep(page, f"answer-{scheme}")
        assert page.text_content(".message.user") == "Hello <b>there</b>"
        assert page.query_selector(".message.user b") is None
        answer = page.text_content(".message.assistant")
        page.click("#new")
        _ask(page, "Hello <b>there</b>")
        _answered(page)
        assert page.text_content(".message.assistant") == answer, "the same seed, the same answer"


def test_probabilities_are_shown_for_each_token(running, pool_of, llm, open_page):
    with running(pool_of(tiny=llm)) as url:
        page = open_page(url)
        page.click("#show-controls")
        page.fill("[name=max_tokens]", "5")
        page.check("[name=logprobs]")
        _ask(page, "Hello")
        _answered(page)
        titles = page.eval_on_selector_all(".token", "all => all.map(t => t.title)")
        _keep(page, "probabilities")
    assert titles
    assert all(len(title.splitlines()) == 5 and re.search(r"\d\.\d %", title) for title in titles)


def test_stop_and_the_live_view(running, pool_of, slow_llm, open_page):
    with running(pool_of(slow=slow_llm)) as url:
        page = open_page(url)
        page.click("#show-controls")
        page.fill("[name=max_tokens]", "400")
        page.click("#show-live")
        _ask(page, "Hello")
        page.wait_for_function(
            "() => /1 of|computed/.test(document.querySelector('#live').textContent)", timeout=30_000
        )
        page.wait_for_selector("#live .bar")
        page.wait_for_selector(".blocks i.used")
        _keep(page, "live")
        page.keyboard.press("Escape")
        _answered(page)
        assert "stopped" in page.text_content(".message.assistant .tools")
        page.wait_for_function("() => !document.querySelector('#live .bar')", timeout=30_000)


def test_a_key_is_asked_for_and_used(running, pool_of, llm, open_page):
    with running(pool_of(tiny=llm), api_keys=(KEY,)) as url:
        page = open_page(url)
        page.wait_for_function("() => document.querySelector('#rate').textContent.includes('key')")
        page.click("#show-controls")
        page.fill("[name=key]", KEY)
        page.press("[name=key]", "Tab")
        page.wait_for_selector("#model option", state="attached")


def test_markdown_becomes_nodes_and_never_markup(running, pool_of, llm, open_page):
    source = """# Title
A **bold** and *soft* `x < 1` word, [a link](https://example.org/a) and [none](javascript:alert(1)).
<img src=x onerror=alert(1)> ![remote](https://example.org/x.png)

- one
- two

1. first

> quoted

| a | b |
|---|---|
| 1 | 2 |

```python
print("<script>")
```
***"""
    with running(pool_of(tiny=llm)) as url:
        page = open_page(url)
        page.evaluate(
            """async (source) => {
              const { render } = await import("/page/markdown.js");
              document.querySelector("#talk").replaceChildren(render(source));
            }""",
            source,
        )
        _keep(page, "markdown")
        names = page.eval_on_selector_all("#talk *", "all => all.map(e => e.tagName.toLowerCase())")
        links = page.eval_on_selector_all("#talk a", "all => all.map(a => [a.href, a.rel])")
        text = page.text_content("#talk")
    assert {"h3", "strong", "em", "code", "ul", "ol", "li", "blockquote", "table", "th", "td", "pre", "hr"} <= set(
        names
    )
    assert not {"img", "script", "b"} & set(names)
    assert [link[0] for link in links] == ["https://example.org/a", "https://example.org/x.png"]
    assert all("noopener" in rel for _, rel in links)
    assert "<img src=x onerror=alert(1)>" in text
    assert "javascript:alert(1)" in text
    assert 'print("<script>")' in text


def test_it_is_usable_by_keyboard_alone(running, pool_of, llm, open_page):
    with running(pool_of(tiny=llm)) as url:
        page = open_page(url)
        assert page.evaluate("() => document.activeElement.id") == "text"
        reached = set()
        for _ in range(12):
            page.keyboard.press("Shift+Tab")
            reached.add(page.evaluate("() => document.activeElement.id"))
        assert {"model", "new", "show-controls", "show-live"} <= reached
        page.focus("#show-controls")
        page.keyboard.press("Enter")
        assert page.get_attribute("#show-controls", "aria-expanded") == "true"
        assert page.is_visible("[name=temperature]")


def test_reasoning_is_folded_away_from_the_answer(running, pool_of, scripted, open_page):
    with running(pool_of(scripted=scripted(THINKING, "<think>\nHm.\n</think>\n\nYes"))) as url:
        page = open_page(url)
        page.wait_for_selector("#model option", state="attached")
        _ask(page, "Hello")
        _answered(page)
        assert page.inner_text(".thought summary") == "Reasoning"
        page.click(".thought summary")
        assert page.inner_text(".thought div") == "Hm."
        assert page.text_content(".assistant > div") == "Yes"
        _keep(page, "reasoning")

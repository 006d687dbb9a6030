"""The playground: its files, and the page in a real browser, where there is one."""

import os
import re
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from langsteer.serving.app import ServeOptions, build_app
from langsteer.serving.playground import FOLDER
from langsteer.steering.steered import Steered
from tests.made.server import listening

SW, EN = "abcdeabcdeabcde", "klmnoklmnoklmno"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def test_the_page_loads_nothing_from_elsewhere(client: Any) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert page.headers["content-security-policy"].startswith("default-src 'self'")
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(loaded) == 4
    for path in loaded:
        assert client.get(f"/{path}").status_code == 200, path
    for file in FOLDER.iterdir():
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|//cdn|@import|url\(", text), file.name
        assert not re.search(r"\son\w+=|\sstyle=|<style|<script>|innerHTML", text), file.name
    assert client.get("/playground/app.py").status_code == 404
    assert client.get("/playground/..%2fapp.py").status_code == 404


def test_the_page_needs_no_key(ready: Steered) -> None:
    from fastapi.testclient import TestClient

    with TestClient(build_app(ready, "tiny", ServeOptions(keys=("one",)))) as client:
        assert client.get("/").status_code == 200
        assert client.get("/playground/playground.js").status_code == 200
        assert client.get("/v1/models").status_code == 401


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    named = os.environ.get("LANGSTEER_BROWSER") or next(
        filter(None, map(shutil.which, BROWSERS)), None
    )
    if named is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    with driver.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=named, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page that fails the test where something goes wrong in it, or another server is asked."""
    context = browser.new_context(viewport={"width": 390, "height": 800}, has_touch=True)
    opened, wrong, asked = context.new_page(), list[str](), list[str]()
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    opened.on("request", lambda request: asked.append(request.url))
    yield opened
    context.close()
    assert [text for text in wrong if "Failed to load resource" not in text] == []
    assert {re.sub(r"^(http://127\.0\.0\.1):.*", r"\1", address) for address in asked} == {
        "http://127.0.0.1"
    }


def said(page: Any, where: str, text: str | re.Pattern[str]) -> None:
    from playwright.sync_api import expect

    expect(page.locator(where)).to_have_text(text)


@pytest.mark.browser
def test_a_text_is_asked_by_keyboard(page: Any, url: str) -> None:
    page.goto(url)
    page.wait_for_selector("#language option", state="attached")
    page.locator("#text").focus()
    page.keyboard.type(SW)
    page.keyboard.press("Control+Enter")
    said(page, "#status", "Both have answered.")
    unsteered, steered = (
        page.locator(f"#{side}").text_content() for side in ("unsteered", "steered")
    )
    assert unsteered
    assert steered
    assert unsteered != steered
    assert page.locator("#heard-language").text_content() == "Heard Swahili"
    assert "Vector for Swahili, strength 4 at layer" in page.locator("#steered-told").text_content()
    assert page.locator("article[aria-busy]").count() == 0
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390  # nothing sticks out on a phone


@pytest.mark.browser
def test_strength_and_layer_are_moved_and_the_recipe_does_the_same(page: Any, url: str) -> None:
    page.goto(url)
    page.wait_for_selector("#language option", state="attached")
    page.select_option("#language", "tr")
    assert page.locator("#strength-told").text_content() == "4, as fitted"
    page.locator("#strength").focus()
    for _ in range(20):
        page.keyboard.press("ArrowLeft")
    page.locator("#layer").focus()
    page.keyboard.press("Home")
    page.fill("#text", "it's " + SW)
    page.click("#send")
    said(page, "#status", "Both have answered.")
    assert (
        "Vector for Turkish, strength 3 at layer 0" in page.locator("#steered-told").text_content()
    )
    curl = page.locator("#curl").text_content()
    assert '"steering":{"language":"tr","strength":3,"layer":0}' in curl
    assert r"it'\''s" in curl
    page.click("#reset")
    assert page.locator("#strength-told").text_content() == "4, as fitted"
    page.fill("#text", EN)
    page.select_option("#language", "auto")
    page.click("#send")
    said(page, "#heard-language", "Heard English")
    assert "Not steered: the vectors lead there" in page.locator("#steered-told").text_content()


@pytest.mark.browser
def test_right_to_left_and_errors_are_said(page: Any, url: str) -> None:
    page.goto(url)
    page.wait_for_selector("#language option", state="attached")
    page.fill("#text", "عاصمة كينيا هي")
    assert page.locator("#text").evaluate("e => getComputedStyle(e).direction") == "rtl"
    page.locator("#steered").evaluate("e => { e.textContent = 'نيروبي'; }")
    assert page.locator("#steered").evaluate("e => getComputedStyle(e).direction") == "rtl"
    page.fill("#text", "a" * 500)
    page.click("#send")
    page.wait_for_selector("#error:not([hidden])")
    assert "128 positions" in page.locator("#error").text_content()


@pytest.mark.browser
def test_a_key_is_asked_for_and_an_answer_stopped(page: Any, ready: Steered) -> None:
    with listening(ready, ServeOptions(keys=("one",)), seconds=0.05) as url:
        page.goto(url)
        page.fill("#key", "wrong")
        page.keyboard.press("Enter")
        said(page, "#error", "This key is not known.")
        page.fill("#key", "one")
        page.keyboard.press("Enter")
        page.wait_for_selector("#language option", state="attached")
        page.fill("#text", SW)
        page.click("#send")
        said(page, "#steered", re.compile("...."))
        page.keyboard.press("Escape")
        said(page, "#status", "Stopped.")
        assert page.locator("#stop").is_disabled()

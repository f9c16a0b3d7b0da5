"""The report in a real browser: clicks, keys, filters, hostile texts, a narrow screen, and very many items."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import browser
from report_site import HOSTILE, make_large_report, make_report

pytestmark = pytest.mark.slow
CHECKS = Path(__file__).with_name("report_checks.js").read_text(encoding="utf-8").partition("\n")[2]
WIDE, NARROW = {"width": 1280, "height": 800}, {"width": 390, "height": 800}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_report(tmp_path_factory.mktemp("report"))


@pytest.fixture
def page(chromium: Any, report: Path) -> Iterator[Any]:
    with looked_at(chromium, report, WIDE) as found:
        yield found


class looked_at:
    """A page of the report that notes every request, message, dialog and fault; at its end there may be none."""

    def __init__(self, chromium: Any, file: Path, screen: dict[str, int]) -> None:
        self.page = chromium.new_page(viewport=screen)
        self.page.set_default_timeout(20_000)
        self.faults: list[str] = []
        self.page.on("request", lambda one: self.faults.extend([one.url] * (not one.url.startswith("file:"))))
        self.page.on("console", lambda one: self.faults.append(one.text))
        self.page.on("pageerror", lambda one: self.faults.append(str(one)))
        self.page.on("dialog", lambda one: self.faults.append("a dialog"))
        self.page.goto(file.as_uri())
        self.page.wait_for_selector("h1")

    def __enter__(self) -> Any:
        return self.page

    def __exit__(self, kind: Any, fault: Any, at: Any) -> None:
        hacked = self.page.evaluate("window.hacked ?? null")
        self.page.close()
        if kind is None:
            assert hacked is None
            assert self.faults == []


def checked(page: Any, what: str) -> Any:
    """What a check of report_checks.js finds on the page."""
    return page.evaluate(f"({CHECKS}).{what}()")


def until(page: Any, condition: str, seconds: float = 20) -> None:
    """Wait for a condition; the driver's own waiting would run text as code, which the page's policy forbids."""
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < end, f"waited in vain for {condition}"
        page.wait_for_timeout(20)


def count(page: Any) -> str:
    return page.inner_text("#count")


def open_task(page: Any, name: str) -> None:
    page.click(f"#main .matrix thead a:text-is('{name}') >> nth=0")
    page.wait_for_selector(".tabulator-row")


def test_a_click_leads_from_a_number_to_the_replies_behind_it(page: Any) -> None:
    assert page.inner_text("h1") == "Two runs side by side"
    page.check("[name=view][value=flips]")
    cell = page.locator(".matrix >> nth=1").locator("tbody tr").last.locator("td").first
    lost = int(cell.inner_text().split()[0].removeprefix("−"))
    assert lost > 0, "the second run forgets"
    cell.locator("a").click()
    page.wait_for_selector(".tabulator-row")
    assert page.inner_text("h1") == "gqa"
    page.select_option("[name=show]", "lost")
    assert count(page) == f"{lost} of 60 items"
    page.click(".tabulator-row >> nth=0")
    page.wait_for_selector(".replies")
    then, now = page.locator(".replies .compared").all_inner_texts()
    assert "right" in then
    assert "wrong" in now or "malformed" in now
    assert page.locator("#item img").count() == 1
    assert page.evaluate("document.querySelector('#item img').naturalWidth") == 48
    page.go_back()
    page.go_back()
    assert count(page) == "60 of 60 items"


def test_filters_agree_with_the_marks(page: Any) -> None:
    open_task(page, "gqa")
    found = checked(page, "counted")
    assert set(found) == set(page.locator("[name=show] option").evaluate_all("all => all.map(one => one.value)"))
    for name, number in found.items():
        page.select_option("[name=show]", name)
        until(page, f"document.getElementById('count').textContent === '{number} of 60 items'")
    page.select_option("[name=show]", "all")
    page.fill("[name=find]", "gqa 7?")
    until(page, "document.getElementById('count').textContent === '1 of 60 items'")


def test_hostile_texts_are_texts(page: Any) -> None:
    open_task(page, "gqa")
    seen = ""
    for number in range(len(HOSTILE)):
        page.evaluate(f"state.go({{item: 'gqa-{number}' + ({number} === 1 ? {HOSTILE[1]!r} : '')}})")
        until(page, f"document.querySelector('#item h2')?.textContent.startsWith('gqa-{number}')")
        seen += page.evaluate("document.getElementById('item').textContent")
    for text in HOSTILE:
        if "\ud800" not in text:
            assert text in seen
    assert page.locator("#item script, #item style, #item iframe, #item svg, #item link").count() == 0
    assert page.evaluate("getComputedStyle(document.body).display") == "block"


def test_the_policy_stops_what_should_ever_get_through(chromium: Any, report: Path) -> None:
    page = chromium.new_page()
    page.goto(report.as_uri())
    page.wait_for_selector("h1")
    assert [what for what, refused in checked(page, "refused").items() if not refused] == []
    assert page.evaluate("window.hacked ?? null") is None
    page.close()


def test_everything_is_reached_by_keys(page: Any) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('.matrix td') !== null"):
            break
    page.keyboard.press("Enter")
    page.wait_for_selector(".tabulator-row")
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "list":
            break
    chosen = []
    for key in ("ArrowDown", "ArrowDown", "End", "ArrowUp", "Home", "PageDown", "j", "k"):
        page.keyboard.press(key)
        page.wait_for_timeout(60)
        chosen.append(
            page.evaluate("Number(document.getElementById('list').getAttribute('aria-activedescendant').slice(4))")
        )
    step = chosen[5]
    assert chosen == [0, 1, 59, 58, 0, step, step + 1, step]
    assert step > 3
    assert page.evaluate("document.querySelector('.tabulator-row.active').getAttribute('aria-selected')") == "true"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.tagName") == "H2"
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "list"


def test_a_screen_reader_is_told_what_is_shown(page: Any) -> None:
    assert page.evaluate("document.documentElement.lang") == "en"
    for plot in page.locator(".plot").all():
        assert "style" in plot.get_attribute("aria-label")
    open_task(page, "gqa")
    page.click(".tabulator-row >> nth=1")
    page.wait_for_selector(".replies")
    assert page.locator("[role=grid][aria-label][aria-rowcount]").count() == 1
    assert checked(page, "unnamed") == []
    assert "right" in page.locator(".strip").first.get_attribute("aria-label")


def test_the_ink_has_contrast(page: Any) -> None:
    assert checked(page, "poor") == []
    page.check("[name=view][value=change]")
    assert checked(page, "poor") == []
    open_task(page, "gqa")
    page.click(".tabulator-row >> nth=1")
    page.wait_for_selector(".replies")
    assert checked(page, "poor") == []


def test_a_narrow_screen_shows_the_same_without_scrolling_sideways(chromium: Any, report: Path) -> None:
    with looked_at(chromium, report, NARROW) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
        page.click(".matrix tbody tr:last-child td >> nth=0 >> a")
        page.wait_for_selector(".tabulator-row")
        page.click(".tabulator-row >> nth=3")
        page.wait_for_selector(".replies")
        assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
        assert page.locator(".strip").first.is_visible()
        page.click("text=Next →")
        until(page, "document.querySelector('#item h2').textContent === 'gqa-4'")


def test_a_hundred_thousand_items_open_and_filter_at_once(chromium: Any, report: Path, tmp_path: Path) -> None:
    items = 100_000
    with looked_at(chromium, make_large_report(tmp_path, report, items), WIDE) as page:
        begun = time.monotonic()
        open_task(page, "gqa")
        until(page, "document.getElementById('count').textContent === '100,000 of 100,000 items'")
        opened = time.monotonic() - begun
        begun = time.monotonic()
        page.select_option("[name=show]", "lost")
        until(page, "!document.getElementById('count').textContent.startsWith('100,000')")
        filtered = time.monotonic() - begun
        page.select_option("[name=show]", "all")
        until(page, "document.getElementById('count').textContent.startsWith('100,000')")
        page.focus("#list")
        begun = time.monotonic()
        page.keyboard.press("End")
        until(page, f"document.querySelector('#item h2')?.textContent === 'item-{items - 1}'")
        moved = time.monotonic() - begun
        print(f"opened in {opened:.2f} s, filtered in {filtered:.2f} s, moved to the end in {moved:.2f} s")
        assert page.locator(".tabulator-row").count() < 200, "only the rows that are seen are drawn"
        assert opened < 30
        assert filtered < 10
        assert moved < 10

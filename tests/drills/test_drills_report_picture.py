"""Pages of drills as a browser shows them: light, dark, narrow and on paper."""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import Any

import pytest

from binlog.drills.report_html import write_reports
from binlog.drills.report_timeline import timeline
from tests.drills import browser
from tests.drills.sample import sample_failed, sample_result

pytestmark = [
    pytest.mark.timeout(600),  # a browser is started again and again
    pytest.mark.slow,
    pytest.mark.skipif(browser.CHROMIUM is None, reason=browser.WHY_NOT),
]

# Of style.css.
PAGE, CARD, DISASTER = (246, 245, 241), (255, 255, 255), (208, 59, 59)
DARK_PAGE, DARK_CARD, DARK_DISASTER = (17, 17, 15), (27, 27, 25), (240, 106, 96)
LAG, ACKNOWLEDGED, APPLIED = (106, 79, 196), (42, 111, 208), (18, 153, 106)

# Boxes of text on text; what is wider than the window; figures' text outside of their frame.
OVERLAPS = """
const wrong = [];
const texts = [...document.querySelectorAll('svg.timeline text')].filter(t => t.textContent.trim());
const boxes = texts.map(t => [t.textContent, t.getBoundingClientRect(), t.closest('svg')]);
for (const [said, box, svg] of boxes) {
  const frame = svg.getBoundingClientRect();
  if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1
      || box.bottom > frame.bottom + 1) wrong.push(['outside', said]);
}
for (let i = 0; i < boxes.length; i++) for (let j = i + 1; j < boxes.length; j++) {
  const [a, b] = [boxes[i][1], boxes[j][1]];
  const x = Math.min(a.right, b.right) - Math.max(a.left, b.left);
  const y = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
  if (x > 1 && y > 3) wrong.push(['on each other', boxes[i][0], boxes[j][0]]);
}
return wrong;
"""
WIDER = """
const wide = [...document.querySelectorAll('main *')].filter(e => !e.closest('.wide')
  && e.getBoundingClientRect().right > document.documentElement.clientWidth + 1);
return [document.documentElement.scrollWidth <= document.documentElement.clientWidth,
        wide.slice(0, 5).map(e => e.outerHTML.slice(0, 120))];
"""
# The contrast of each text with what is behind it, as WCAG 2.2 counts it.
CONTRASTS = """
const numbers = c => (c.match(/[\\d.]+/g) || []).map(Number);
const part = v => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; };
const light = ([r, g, b]) => .2126 * part(r) + .7152 * part(g) + .0722 * part(b);
const behind = e => { for (; e; e = e.parentElement) {
  const c = numbers(getComputedStyle(e).backgroundColor);
  if (c.length == 3 || c[3] > .99) return c; } return [255, 255, 255]; };
const found = [];
for (const e of document.querySelectorAll('main *:not(title)')) {
  if (![...e.childNodes].some(n => n.nodeType == 3 && n.textContent.trim())) continue;
  const style = getComputedStyle(e);
  const a = light(numbers(e.closest('svg') ? style.fill : style.color)), b = light(behind(e));
  const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
  if (ratio < 4.5) found.push([Math.round(ratio * 10) / 10, e.textContent.trim().slice(0, 40)]);
}
return found;
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    write_reports([sample_result(), sample_failed()], folder)
    twin = next(folder.glob("*-twin-*.html"))
    return {
        "drill": folder / "table-dropped.html",
        "twin": twin,
        "run": folder / "index.html",
    }


def test_light_and_dark_follow_the_reader_and_the_disaster_is_seen_where_it_was(
    pages: dict[str, Path],
) -> None:
    """From the pixels back to the second: what is drawn is what was measured."""
    light = browser.picture(pages["drill"], width=820, height=1250)
    dark = browser.picture(pages["drill"], width=820, height=1250, dark=True)
    assert (light.at(3, 3), dark.at(3, 3)) == (PAGE, DARK_PAGE)
    for shown, card, disaster in ((light, CARD, DISASTER), (dark, DARK_CARD, DARK_DISASTER)):
        assert shown.count(card) > 100_000
        assert shown.count(disaster) > 100
    for colour in (LAG, ACKNOWLEDGED, APPLIED):
        assert light.count(colour) > 100, colour
    box = browser.found_by(
        pages["drill"],
        "const b = document.querySelector('svg.timeline').getBoundingClientRect();"
        "return [b.left, b.width, document.documentElement.clientWidth];",
        width=820,
    )
    left, width, seen = box
    figure = timeline(sample_result())
    [wanted] = {x for kind, x, _ in figure.shades if kind == "disaster"}
    expected = (left + wanted / figure.width * width) * 820 / seen
    assert light.first_column(DISASTER) == pytest.approx(expected, abs=3)


@pytest.mark.parametrize(("name", "width"), [("twin", 500), ("run", 500), ("run", 1000)])
def test_nothing_is_cut_off_or_lies_on_something_else(
    pages: dict[str, Path], name: str, width: int
) -> None:
    both = f"return [(() => {{ {WIDER} }})(), (() => {{ {OVERLAPS} }})()];"
    [[fits, wide], overlapping] = browser.found_by(pages[name], both, width=width)
    assert (fits, wide, overlapping) == (True, [], [])


def test_on_a_phone_the_words_of_a_table_are_not_broken_into_letters(
    pages: dict[str, Path],
) -> None:
    """Its figures are scrolled to; what happened is read at once."""
    script = (
        "return [...document.querySelectorAll('.named')].map(e => e.getBoundingClientRect().width)"
    )
    widths = browser.found_by(pages["run"], script, width=500)
    assert len(widths) == 2
    assert min(widths) >= 150


@pytest.mark.parametrize("dark", [False, True])
def test_all_text_can_be_read(pages: dict[str, Path], dark: bool, tmp_path: Path) -> None:
    """At least 4.5 to 1, as WCAG asks of small text; in the dark half, too."""
    page = pages["twin"]
    if dark:  # the browser is asked for what the media query holds
        html = page.read_text().replace("screen and (prefers-color-scheme: dark)", "screen")
        page = tmp_path / "dark.html"
        page.write_text(html)
    assert browser.found_by(page, CONTRASTS, width=1100) == []


def texts_of(pdf: bytes) -> int:
    """Operators that show text, in streams that are compressed or not."""
    streams = re.findall(rb"stream\r?\n(.*?)endstream", pdf, re.DOTALL)
    shown = 0
    for stream in streams:
        try:
            content = zlib.decompress(stream)
        except zlib.error:
            continue
        shown += len(re.findall(rb"T[jJ]\b", content))
    return shown


def test_paper_is_light_whatever_the_reader_likes_and_a_few_pages(pages: dict[str, Path]) -> None:
    light, dark = (browser.paper(pages["run"], dark=dark) for dark in (False, True))
    for pdf in (light, dark):
        assert pdf.startswith(b"%PDF")
        assert 3 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 5
        assert texts_of(pdf) > 80
    assert abs(len(light) - len(dark)) < 200
    assert texts_of(light) == texts_of(dark)


# -- the browser can find something ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "broken"),
    [
        (OVERLAPS, lambda html: re.sub(r'(<text[^>]* )x="[\d.]+"', r'\1x="300"', html)),
        (CONTRASTS, lambda html: html.replace("--ink-3: #", "--ink-3: #eee; --old: #")),
    ],
)
def test_what_is_wrong_is_found(
    pages: dict[str, Path], tmp_path: Path, script: str, broken: Any
) -> None:
    page = tmp_path / "broken.html"
    page.write_text(broken(pages["drill"].read_text()))
    assert browser.found_by(page, script, width=1100) != []


def test_a_page_that_is_too_wide_is_found(pages: dict[str, Path], tmp_path: Path) -> None:
    page = tmp_path / "wide.html"
    page.write_text(pages["drill"].read_text().replace("<h1>", '<h1 style="width:3000px">'))
    assert browser.found_by(page, WIDER, width=1100)[0] is False

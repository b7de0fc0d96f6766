"""Pages of drills: nothing from elsewhere, nobody's text as markup, and every figure as it is."""

from __future__ import annotations

import base64
import builtins
import re
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
import pytest
from msgspec.structs import replace

from binlog.drills import report_html
from binlog.drills.report_html import drill_page, run_page, write_reports
from binlog.drills.result import DrillResult, Spent, decode_result
from binlog.errors import RefusedError
from tests.drills.sample import sample_failed, sample_result

VOID = {"meta", "br", "link", "img", "input", "hr"}
HOSTILE = (
    "</style><script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7*7 }}&lt;\x1b[31m\x00"
)
HOSTILE_SHOWN = HOSTILE.replace("\x1b", "\\x1b").replace("\x00", "\\x00")


class Page(HTMLParser):
    """A page as a browser takes it: elements, attributes, and text of elements that show it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.text = ""
        self.style = ""
        self.wrong: list[str] = []
        self.feed(html)
        self.close()
        self.wrong += self.open

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self.text += " "
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        self.text += " "
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"/{tag}")

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            self.style += data
        else:
            self.text += data


def flat(text: str) -> str:
    return " ".join(text.split())


def shown(html: str) -> str:
    return flat(Page(html).text)


def pages() -> list[str]:
    both = [sample_result(), sample_failed()]
    return [*map(drill_page, both), run_page(both), run_page([])]


def hostile(value: Any) -> Any:
    """The same with every free text replaced by one that means harm."""
    if isinstance(value, DrillResult):
        kept = {"schema", "seed", "seconds", "passed", "interrupted"}
    elif isinstance(value, msgspec.Struct):
        kept = {"kind", "by", "phase"} | ({"name"} if hasattr(value, "end_s") else set())
    elif isinstance(value, tuple):
        return tuple(hostile(each) for each in value)
    elif isinstance(value, dict):
        return {hostile(key): hostile(each) for key, each in value.items()}
    else:
        return HOSTILE if isinstance(value, str) else value
    fields = {name: getattr(value, name) for name in value.__struct_fields__}
    return replace(value, **{k: hostile(v) for k, v in fields.items() if k not in kept})


# -- a file that stands alone --------------------------------------------------------------------


@pytest.mark.parametrize("page", pages())
def test_a_page_takes_nothing_from_elsewhere_and_runs_nothing(page: str) -> None:
    """It is mailed and archived: what it needs is in it, and it forbids itself the rest."""
    parsed = Page(page)
    assert not {"script", "link", "img", "iframe", "object", "use", "image"} & {
        tag for tag, _ in parsed.elements
    }
    for tag, attributes in parsed.elements:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in {"src", "href", "xlink:href", "action", "srcset"}:
                assert value.startswith(("#", "data:application/json;base64,")), value
    assert "@import" not in parsed.style
    assert re.findall(r"url\(([^)]*)\)", parsed.style) == ["#hatch"]
    policy = next(a["content"] for _, a in parsed.elements if a.get("http-equiv"))
    assert policy.startswith("default-src 'none';")
    assert not re.search("https?:", page)


@pytest.mark.parametrize("page", pages())
def test_a_page_is_well_formed_and_its_figures_are_xml(page: str) -> None:
    """What one browser mends, another shows in pieces."""
    assert Page(page).wrong == []
    for figure in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ET.fromstring(figure)


@pytest.mark.parametrize("render", [drill_page, lambda result: run_page([result])])
@pytest.mark.parametrize("make", [sample_result, sample_failed])
def test_no_text_of_a_result_becomes_markup(
    make: Callable[[], DrillResult], render: Callable[[DrillResult], str]
) -> None:
    """A command prints what users wrote: it may not run in the browser of who reads the report."""
    harmless = render(make())
    page = render(hostile(make()))
    assert [tag for tag, _ in Page(page).elements if tag in {"script", "img"}] == []
    assert not any(name.startswith("on") for _, a in Page(page).elements for name in a)
    assert Page(page).style == Page(harmless).style
    assert flat(HOSTILE_SHOWN) in shown(page)
    assert "49" not in re.findall(r"\b49\b", shown(page).replace(HOSTILE_SHOWN, ""))
    assert not {c for c in page if not c.isprintable()} - {"\n"}


# -- what it says --------------------------------------------------------------------------------


def test_everything_that_was_measured_is_in_the_page() -> None:
    """An auditor checks it against the JSON: claims, evidence, commands, versions, seed."""
    result = sample_result()
    text = shown(drill_page(result))
    wanted = [
        result.title, result.story, result.take_back, result.repeat, result.ledger.sha256,
        *(v.claim for v in result.verdicts), *(v.evidence for v in result.verdicts),
        *(c.shown for c in result.commands), *(line for c in result.commands for line in c.output),
        *result.versions.values(), *result.addresses.values(), *result.measured.run.requests, *result.measured.counted,
        *(mark.text for mark in result.marks),
        "Passed", "26 November 2026, 16:40 UTC", "0 of 6,180", "target: at most 30 s", "403.2 KiB",
        "status 3, as expected", "requests of services 58 649", "write units of DynamoDB 412 6,592",
        "at list price $0.000258 $0.034125", "without an answer 2",
        "200.0 KiB read, 96.0 KiB written, 41 requests",
        "It read 403.2 KiB and wrote 96.0 KiB, by 58 requests, for $0.000258 at list price.", "None of 6,180 acknowledged events is missing.",
    ]  # fmt: skip
    assert [each for each in wanted if flat(each) not in text] == []


def test_a_page_holds_the_result_that_it_was_made_from() -> None:
    page = Page(drill_page(sample_result()))
    [link] = [a for tag, a in page.elements if tag == "a" and "download" in a]
    data = base64.b64decode(link["href"].partition(",")[2])
    assert decode_result(data) == sample_result()
    assert __import__("hashlib").sha256(data).hexdigest() in page.text
    assert link["download"] == "table-dropped.json"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rpo_events": None}, ["How many acknowledged events are missing was not measured.", "not measured ✗ target: none"]),
        ({"rpo_events": 1}, ["1 of 6,180 acknowledged events is missing, where at most 0 may be.", "1 of 6,180 ✗ target: none"]),
        ({"rto_s": None}, ["How long the recovery takes was not measured.", "not measured ✗ target: at most 30 s"]),
        ({"rto_s": 30.5}, ["Recovery took 30.5 s, more than the 30 s allowed.", "30.5 s ✗ target: at most 30 s"]),
        ({"rto_s": 30.0}, ["Recovery took 30 s, of 30 s allowed."]),
        ({"recovery": Spent(read_bytes=1), "run": Spent(read_bytes=2)}, ["read 1 B 2 B", "written not measured not measured", "requests of services none none", "at list price none none"]),
        ({"counted": ()}, ["read, written, asked of services not measured not measured"]),
    ],
)  # fmt: skip
def test_what_was_not_measured_or_missed_is_said_and_never_a_zero(
    change: dict[str, object], words: list[str]
) -> None:
    """A report that shows 0 where nobody looked is worse than none."""
    result = sample_result()
    text = shown(drill_page(replace(result, measured=replace(result.measured, **change))))
    assert [each for each in words if each not in text] == []


def test_a_failed_drill_says_what_does_not_hold() -> None:
    failed = replace(sample_failed(), twin=None)
    command = replace(failed.commands[2], status=-9)
    text = shown(drill_page(replace(failed, commands=(command,), left=("dynamodb://x",))))
    for words in (
        "✗ Failed",
        f"What does not hold: {failed.failure}",
        "does not hold",
        "orders o93: is missing (event 88c1 of partition 5)",
        "✗ signal 9, expected 0",
        "2 of 3 ✗ target: all of them",
        "Left behind, not removed: dynamodb://x",
    ):
        assert words in text


def test_a_drill_without_verdicts_proves_nothing_on_its_page() -> None:
    text = shown(drill_page(replace(sample_result(), verdicts=(), passed=False)))
    assert "Nothing was judged." in text
    assert "0 of 0 ✗ target: all of them" in text


def test_a_twin_that_was_missed_is_bad_and_one_that_was_caught_is_good() -> None:
    """A green page of a sabotage that nobody noticed would be the worst of all."""
    caught, passed = sample_failed(), replace(sample_result(), twin="no tail")
    by_accident = replace(sample_result(), twin="no tail", passed=False, failure="it fell over")
    assert "✓ Sabotage caught" in shown(drill_page(caught))
    for missed in (passed, by_accident):
        text = shown(drill_page(missed))
        assert "✗ Sabotage missed" in text
        assert "it was not, or not by a check" in text
    text = shown(run_page([sample_result(), caught, passed]))
    assert "1 of 1 drill passed, 1 of 2 sabotaged twins caught" in text
    assert "✗ Not all held" in text
    assert "nothing: it passed" in text
    assert "371 of 412 items equal to the reference model's, 41 differ (model)" in text


def test_a_run_sums_up_drills_and_leaves_twins_out_of_the_figures() -> None:
    slow = replace(
        sample_result(),
        name="region-lost",
        title="A region is lost",
        measured=replace(sample_result().measured, rpo_events=3, rto_s=12.0),
        goals=replace(sample_result().goals, rpo_events=5),
    )
    text = shown(run_page([sample_result(), slow, sample_failed()]))
    assert "3 of 12,360" in text
    assert "12 s region-lost" in text
    assert "✓ All as they have to be" in text
    unknown = replace(slow, measured=replace(slow.measured, rpo_events=None))
    assert "not measured of 12,360" in shown(run_page([sample_result(), unknown]))


def test_a_run_of_nothing_is_not_good() -> None:
    text = shown(run_page([]))
    assert "✗ Not all held" in text
    assert "No drill was run" in text


def test_an_interrupted_drill_is_neither_good_nor_bad() -> None:
    result = replace(sample_result(), interrupted=True, passed=False, failure="interrupted")
    assert "! Interrupted" in shown(drill_page(result))
    assert "! Interrupted" in shown(run_page([result]))


# -- files ---------------------------------------------------------------------------------------


def test_reports_are_data_pages_and_one_page_of_all(tmp_path: Path) -> None:
    paths = write_reports([sample_result(), sample_failed()], tmp_path / "new")
    twin = "table-dropped-twin-rebuilt-up-to-the-snapshot-without-the-tail"
    assert [path.name for path in paths] == [
        "table-dropped.json", f"{twin}.json", "table-dropped.html", f"{twin}.html", "index.html",
    ]  # fmt: skip
    assert decode_result(paths[0].read_bytes()) == sample_result()
    index = Page(paths[-1].read_text())
    targets = {a["id"] for _, a in index.elements if "id" in a}
    links = [a["href"] for tag, a in index.elements if tag == "a" and "download" not in a]
    assert links
    assert {link.removeprefix("#") for link in links} <= targets


def test_the_data_is_written_where_pages_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has not the extra has measured all the same."""
    imported = builtins.__import__

    def refuse(name: str, *more: Any) -> Any:
        if name.partition(".")[0] == "jinja2":
            raise ImportError(name)
        return imported(name, *more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    report_html._environment.cache_clear()
    with pytest.raises(RefusedError, match=r"pip install 'kinesis-binlog\[report\]'"):
        write_reports([sample_result()], tmp_path)
    assert decode_result((tmp_path / "table-dropped.json").read_bytes()) == sample_result()


def test_the_page_of_a_run_says_what_its_recoveries_spent_in_sum() -> None:
    """One that did not count is left out, and none of them is no sentence."""
    good = sample_result()
    blind = replace(good, measured=replace(good.measured, counted=()))
    two = shown(run_page([good, good, blind]))
    assert (
        "Together the recoveries read 806.4 KiB and wrote 192.0 KiB, by 116 requests, for $0.000516"
        " at list price."
    ) in two
    assert "Together" not in shown(run_page([blind]))

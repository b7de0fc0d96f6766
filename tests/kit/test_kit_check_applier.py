"""check_applier: each law is broken by somebody, found, told in words, and repeated by its test."""

from __future__ import annotations

import contextlib
import importlib.util
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal, getcontext
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from appliers.applier import ApplierError, Appliers
from binlog.changes import event, put_item
from binlog.envelope import Envelope
from binlog.errors import RefusedError
from binlog.testing.check_applier import check_applier
from binlog.testing.laws.foreign_locale import can_vary_locale, foreign_locale, plain_locale
from binlog.testing.laws.tally import Report
from binlog.testing.violation import Violation

# ruff: noqa: ARG005, DTZ001, DTZ005, DTZ006 (appliers as a user writes them)

KEYS = ("a", "b")
EVENTS = st.builds(
    lambda key, n, tags, number: event(
        "Placed",
        {"id": key},
        {"n": n, "tags": frozenset(tags), "price": Decimal(n) / 8},
        table="orders",
        event_id=f"e{number}",
        now_ms=number,
    ),
    st.sampled_from(KEYS),
    st.integers(0, 9),
    st.sets(st.sampled_from("pqrstu"), min_size=1),
    st.integers(0, 5),
)
Apply = Callable[..., Any]


def appliers_of(apply: Apply, **options: Any) -> Appliers:
    appliers = Appliers()
    appliers.on("Placed", table="orders", **options)(apply)
    return appliers


def violation_of(apply: Apply | Appliers, **options: Any) -> Violation:
    appliers = apply if isinstance(apply, Appliers) else appliers_of(apply)
    with pytest.raises(Violation) as caught:
        check_applier(appliers, EVENTS, **options)
    return caught.value


def good(item: Any, event: Any) -> Any:
    return {**event.key, "n": (item or {"n": 0})["n"] + event.data["n"]}


def test_a_good_applier_passes_and_says_what_was_seen() -> None:
    report = check_applier(appliers_of(good), EVENTS)
    assert report.examples > 50
    assert report.events["Placed"] > 200
    assert report.items > 100
    assert "of 1 types" in str(report)
    assert "\n" not in str(report)
    assert isinstance(report, Report)


# -- each law can fail ---------------------------------------------------------------------------

_calls: list[int] = []
_cache: dict[str, Any] = {}


def counting(item: Any, event: Any) -> Any:
    _calls.append(1)
    return {**event.key, "calls": len(_calls)}


def remembering(item: Any, event: Any) -> Any:
    return _cache.setdefault(event.id, {**event.key, "n": event.data["n"]})


def changing(item: Any, event: Any) -> Any:
    event.data["n"] += 1
    return {**event.key, "n": event.data["n"]}


def changing_and_refusing(item: Any, event: Any) -> Any:
    if item is not None:
        item["n"] = 0
        raise ApplierError("twice")
    return {**event.key, "n": 1}


def connecting(item: Any, event: Any) -> Any:
    with contextlib.suppress(OSError):
        socket.create_connection(("192.0.2.1", 80), timeout=0.01).close()
    return event.key


def rounding(item: Any, event: Any) -> Any:
    return {**event.key, "p": round(event.data["n"] * 1.19)}


def halving(item: Any, event: Any) -> Any:
    half = event.data["n"]
    half /= 2
    return {**event.key, "p": int(half)}


def set_order(item: Any, event: Any) -> Any:
    return {**event.key, "tags": list(event.data["tags"])}


def shown(item: Any, event: Any) -> Any:
    return {**event.key, "first": next(iter(event.data))}


_places: list[int] = []


def placed_by_chance(item: Any, event: Any) -> Any:
    """As id() does: another value elsewhere, and here another one now and then."""
    _places.append(1)
    return {**event.key, "place": hash("a") % 1009 + len(_places) // 3}


def seventh(item: Any, event: Any) -> Any:
    getcontext()
    return {**event.key, "p": str(Decimal(event.data["n"] + 1) / 7)}


LAWS: list[tuple[Apply, str, list[str]]] = [
    (lambda item, event: {**event.key, "n": item["n"]}, "total", ["TypeError", "test_kit_check"]),
    (lambda item, event: {**event.key, "n": object()}, "storable", ["object"]),
    (lambda item, event: {**event.key, "s": frozenset()}, "storable", ["empty set"]),
    (lambda item, event: {"n": 1}, "storable", ["key", "id: missing"]),
    (lambda item, event: {**event.key, "h": [item]}, "storable", ["32"]),
    (changing, "input", ["event.data", "n: expected"]),
    (changing_and_refusing, "input", ["item"]),
    (rounding, "exact", ["event.data['n'] * 1.19".replace("'", '"'), "2**53"]),
    (halving, "exact", ["half /= 2"]),
    (lambda item, event: {**event.key, "at": str(datetime.now())}, "pure", ["moment", "time_ms"]),
    (lambda item, event: {**event.key, "d": datetime.now().weekday()}, "pure", ["moment"]),
    (
        lambda item, event: {**event.key, "d": str(datetime.fromtimestamp(event.time_ms))},
        "pure",
        ["time zone"],
    ),
    (lambda item, event: {**event.key, "id4": str(uuid.uuid4())}, "pure", ["random", "event.id"]),
    (lambda item, event: {**event.key, "t": time.perf_counter_ns()}, "pure", ["called again"]),
    (seventh, "pure", ["decimal context", "localcontext"]),
    (set_order, "pure", ["sets", "sorted"]),
    (lambda item, event: {**event.key, "h": hash(event.id)}, "pure", ["hash()"]),
    (placed_by_chance, "pure", ["another process", "hash()", "id()"]),
    (counting, "pure", ["called again", "keep nothing"]),
    (shown, "pure", ["order", "map order"]),
    (connecting, "pure", ["network", "function of item and event"]),
    (lambda item, event: {**event.key, "t": Path("x.txt").read_text()}, "pure", ["file"]),
    (
        lambda item, event: {**event.key, "r": __import__("os").environ.get("REGION", "eu")},
        "pure",
        ["environment variables"],
    ),
]


@pytest.mark.parametrize(("apply", "law", "words"), LAWS)
def test_each_law_is_found_and_told(apply: Apply, law: str, words: list[str]) -> None:
    violation = violation_of(apply)
    text = str(violation)
    assert violation.law == law
    assert [word for word in words if word not in text] == []
    assert violation.story
    assert violation.repeat
    assert "check_applier(" in violation.test
    assert len(violation.story) <= (17 if "32" in words else 3), "the shortest story has no more"


@pytest.mark.skipif(not can_vary_locale(), reason="this machine takes no locale with a comma")
def test_a_locale_is_varied_even_where_only_C_is_installed() -> None:
    violation = violation_of(lambda item, event: {**event.key, "n": f"{event.data['n'] + 1000:n}"})
    assert (violation.law, "locale" in str(violation)) == ("pure", True)


@pytest.mark.skipif(not can_vary_locale(), reason="this machine takes no locale with a comma")
@pytest.mark.parametrize("format_", ["%B", "%b", "%A", "%a", "%x", "%X", "%c", "%p"])
def test_days_and_months_are_named_otherwise_in_every_locale(format_: str) -> None:
    moments = [datetime(2024, month, month, 13) for month in range(1, 13)]
    with plain_locale():
        plain = [moment.strftime(format_) for moment in moments]
    with foreign_locale():
        foreign = [moment.strftime(format_) for moment in moments]
    assert len(set(foreign)) == len(set(plain))
    assert foreign != plain


def test_an_item_that_another_key_owns_is_not_touched() -> None:
    everybody = appliers_of(lambda item, event: {"id": "all"}, key=lambda event: {"id": "all"})
    violation = violation_of(everybody)
    assert violation.law == "owned"
    assert "belongs to events of" in str(violation)


def test_an_upcaster_has_to_take_every_earlier_event() -> None:
    appliers = appliers_of(good)
    appliers.upcaster("Placed", 1)(lambda data: {"n": data["number"]})
    violation = violation_of(appliers)
    assert violation.law == "total"
    assert "upcaster of Placed" in violation.what
    assert "KeyError" in str(violation)


def test_a_declared_error_is_no_failure_and_the_fold_goes_on() -> None:
    def once(item: Any, event: Any) -> Any:
        if item is not None:
            raise ApplierError("placed twice")
        return {**event.key, "n": event.data["n"]}

    report = check_applier(appliers_of(once), EVENTS)
    assert report.refused["Placed"] > 50
    assert report.events["Placed"] > 50


@pytest.mark.parametrize(
    ("apply", "word"),
    [
        (changing, "mutation"),
        (rounding, "floats"),
        (shown, "map order"),
        (seventh, "decimal context"),
    ],
)
def test_laws_can_be_left_out(apply: Apply, word: str) -> None:
    report = check_applier(appliers_of(apply), EVENTS, allow=(word,))
    assert word in str(report)


def test_an_exact_calculation_in_a_context_of_its_own_passes() -> None:
    exact = Context(prec=38, rounding=ROUND_HALF_EVEN)

    def share(item: Any, event: Any) -> Any:
        return {**event.key, "p": exact.divide(Decimal(event.data["n"]), Decimal(7)), "q": 7 // 2}

    check_applier(appliers_of(share), EVENTS)


def test_growth_is_found_beyond_short_lists() -> None:
    def longer(item: Any, event: Any) -> Any:
        return {**event.key, "t": "x" * 20_000 + (item or {"t": ""})["t"]}

    violation = violation_of(longer)
    assert violation.law == "storable"
    assert "400" in str(violation)
    assert len({line.partition("{id: ")[2][0] for line in violation.story}) == 1


# -- the test to paste ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        '"n": item["n"]',
        '"at": str(__import__("datetime").datetime.now())',
        '"tags": list(event.data["tags"])',
        '"half": int(event.data["n"] / 2)',
        '"seen": SEEN.append(event.id) or len(SEEN)',
    ],
)
def test_the_test_of_a_finding_fails_when_it_is_pasted(line: str, tmp_path: Path) -> None:
    """In a project of its own, by pytest, with the same law."""
    module = tmp_path / f"pasted_{abs(hash(line))}.py"
    module.write_text(
        "from appliers.applier import Appliers\n"
        "SEEN = []\nshop = Appliers()\n\n"
        '@shop.on("Placed", table="orders")\n'
        f"def placed(item, event):\n    return {{**event.key, {line}}}\n"
    )
    spec = importlib.util.spec_from_file_location(module.stem, module)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[module.stem] = loaded
    try:
        spec.loader.exec_module(loaded)
        with pytest.raises(Violation) as caught:
            check_applier(loaded.shop, EVENTS)
    finally:
        del sys.modules[module.stem]
    text = caught.value.test.replace(
        "from binlog.testing import check_applier",
        "from binlog.testing.check_applier import check_applier",
    )
    if f"from {module.stem} import" not in text:
        text = f"from {module.stem} import shop\n{text.replace('appliers,', 'shop,')}"
    (tmp_path / "test_pasted.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_pasted.py"],
        cwd=tmp_path,
        env={**__import__("os").environ, "PYTHONPATH": f"{Path(__file__).parents[2]}:{tmp_path}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"(law: {caught.value.law})" in done.stdout, done.stdout


def test_the_same_is_found_at_every_run() -> None:
    first, again = (violation_of(set_order) for _ in range(2))
    assert first.test == again.test


# -- a check that sees nothing does not pass -----------------------------------------------------

NONE: list[Envelope] = []


def refusing(item: Any, event: Any) -> Any:
    raise ApplierError("never")


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda: check_applier(appliers_of(refusing), EVENTS), "all .* refused.*never"),
        (lambda: check_applier(appliers_of(good), examples=[]), "no events"),
        (lambda: check_applier(appliers_of(good), st.nothing()), "gives no event"),
        (lambda: check_applier(Appliers()), "no appliers"),
        (
            lambda: check_applier(appliers_of(good), st.just(event("Other", {"id": 1}))),
            "no applier takes Other",
        ),
        (
            lambda: check_applier(
                appliers_of(good), st.just(put_item("orders", {"id": 1}, key="id"))
            ),
            "nothing was checked",
        ),
        (lambda: check_applier(appliers_of(good), EVENTS, allow=("flaots",)), "names 'flaots'"),
        (lambda: check_applier(appliers_of(good), EVENTS, allow="floats"), "give a tuple"),
        (lambda: check_applier(appliers_of(good), examples=[[7]]), "an example holds 7"),  # type: ignore[list-item]
        (lambda: check_applier(appliers_of(good), examples=[7]), "an example is the int 7"),  # type: ignore[list-item]
    ],
)
def test_a_check_that_saw_nothing_is_an_error(check: Callable[[], object], message: str) -> None:
    with pytest.raises(RefusedError, match=message):
        check()


def test_what_cannot_be_sent_to_another_process_is_told() -> None:
    lock = __import__("threading").Lock()

    def locked(item: Any, event: Any) -> Any:
        with lock:
            return event.key

    with pytest.raises(RefusedError, match="cannot be sent to another process"):
        check_applier(appliers_of(locked), EVENTS)
    check_applier(appliers_of(locked), EVENTS, allow=("process",))

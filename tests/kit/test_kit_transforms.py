"""check_applier holds transforms to what it holds appliers to: the same bytes everywhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import strategies as st

from appliers.applier import ApplierError, Appliers
from appliers.redaction import pseudonym
from binlog.changes import event
from binlog.envelope import Event
from binlog.testing.check_applier import check_applier
from binlog.testing.violation import Violation

EVENTS = st.builds(
    lambda key, tags: event("Placed", {"id": key}, {"tags": frozenset(tags)}, table="orders"),
    st.sampled_from("ab"),
    st.sets(st.sampled_from("pqrstu"), min_size=1),
)


def with_transform(function: Callable[[Event], Event | None]) -> Appliers:
    appliers = Appliers()
    appliers.transforms("Placed")(function)

    @appliers.on("Placed", table="orders")
    def place(item: dict[str, Any] | None, event: Event) -> dict[str, Any] | None:
        return {**event.key, "tags": event.data["tags"]}

    return appliers


def in_order(event: Event) -> Event | None:
    if event.data["tags"] == {"p"}:
        return None
    if event.data["tags"] == {"q"}:
        raise ApplierError("q")
    return msgspec.structs.replace(event, data={"tags": sorted(event.data["tags"])})


def test_a_pure_transform_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIT_SECRET", "sixteen bytes and more")
    appliers = with_transform(in_order)
    appliers.transform("other", version=1, redact={"x": pseudonym("KIT_SECRET")})
    check_applier(appliers, EVENTS)


def test_the_order_of_a_set_is_found() -> None:
    """It is another one under another hash seed."""

    def as_it_comes(event: Event) -> Event | None:
        return msgspec.structs.replace(event, data={"tags": list(event.data["tags"])})

    with pytest.raises(Violation):
        check_applier(with_transform(as_it_comes), EVENTS)


def test_a_clock_is_found() -> None:
    def stamped(event: Event) -> Event | None:
        return msgspec.structs.replace(event, data={"tags": time.time_ns()})

    with pytest.raises(Violation, match="at another moment"):
        check_applier(with_transform(stamped), EVENTS)


@pytest.mark.parametrize(
    "result", [lambda _: {}, lambda e: msgspec.structs.replace(e, key={"id": 1})]
)
def test_what_is_no_event_is_found(result: Callable[[Event], Any]) -> None:
    with pytest.raises(Violation, match="returned no event that could have been published"):
        check_applier(with_transform(result), EVENTS)

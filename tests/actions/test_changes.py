"""The functions that applications call: the same envelopes as the actions of the command."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from binlog.actions import build
from binlog.changes import batch_write, delete_item, event, put_item, update_item
from binlog.envelope import Envelope
from binlog.errors import RefusedError
from binlog.input import new_event_id
from binlog.logs.memory import MemoryLog
from binlog.params import Params
from binlog.producer import Producer

COMMON: dict[str, Any] = {"event_id": "E", "meta": {"by": "me"}, "now_ms": 5}
FIELDS: dict[str, Any] = {"Id": "E", "Meta": {"by": "me"}, "Table": "T.1"}


def built(**action: Any) -> list[Envelope]:
    return build({**FIELDS, **action}, now_ms=5, new_id=new_event_id, key_names=["id"])


def test_each_makes_the_envelope_of_its_action() -> None:
    """One meaning, whichever way it is said."""
    item = {"id": 7, "total": Decimal("12.50")}
    change = {"Set": {"a": 1}, "Add": {"n": 2}}
    assert [put_item("T.1", item, key="id", expect=3, **COMMON)] == built(
        Action="PutItem", Data=item, Expect=3
    )
    assert [delete_item("T.1", {"id": 7}, expect=3, **COMMON)] == built(
        Action="DeleteItem", Key={"id": 7}, Expect=3
    )
    assert [update_item("T.1", {"id": 7}, change, expect=0, **COMMON)] == built(
        Action="UpdateItem", Key={"id": 7}, Data=change, Expect=0
    )
    elements: list[dict[str, Any]] = [item, {"Delete": {"id": 8}}]
    assert batch_write("T.1", elements, key=["id"], **COMMON) == built(
        Action="BatchWrite", Data=elements
    )
    assert [event("Paid", {"id": 7}, [1], schema=2, table="T.1", **COMMON)] == built(
        Action="Event", Type="Paid", Key={"id": 7}, Data=[1], Schema=2
    )


def test_what_is_left_out_is_filled_in() -> None:
    """Ids sort by time; the event's own time is now; a domain event needs no table."""
    first, second = event("Paid", {"id": 7}), event("Paid", {"id": 7})
    assert first.id < second.id
    assert first.time_ms > 1_700_000_000_000
    assert (first.table, first.data) == ("", b"\xc0")


def test_refuses_what_the_actions_refuse() -> None:
    """Before it reaches a producer."""
    with pytest.raises(RefusedError, match="the key attribute 's' is missing"):
        put_item("T.1", {"p": 1}, key=("p", "s"))
    with pytest.raises(RefusedError, match="reserved"):
        event("PutItem", {"id": 7})


def test_a_producer_takes_them_as_they_are() -> None:
    """They pass the check of hand-made envelopes: one by one they come without the mark."""
    with Producer(MemoryLog(Params(log_id="ab" * 16))) as producer:
        for made in (
            put_item(
                "T.1", {"p": "x" * 1_500, "s": b"1", "set": {1, Decimal("2.5")}}, key=("p", "s")
            ),
            update_item("T.1", {"p": 1}, {"Remove": ["b", "a"], "Delete": {"c": {b"x"}}}),
            delete_item("T.1", {"p": 1}),
            event("Paid", {"id": 7}, {"by": None}),
        ):
            assert producer.append(made).number >= 1
        assert len(producer.append_many(batch_write("T.1", [{"id": 1}], key="id"))) == 1

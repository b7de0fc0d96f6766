"""Exclusions: five forms, one normal form each, and exactly the events they name."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliers.exclusion import Exclusions, parse_exclusions
from binlog.envelope import Envelope
from binlog.errors import RefusedError
from binlog.frame import Session
from binlog.values import decode_value
from tests.appliers_core.fold_support import SESSION, delete, envelope, put, run_of

FAMILY = SESSION.family.hex()


def test_no_rules_cost_nothing() -> None:
    assert parse_exclusions([]) is None


@pytest.mark.parametrize(
    ("rule", "normal"),
    [
        ("id=o-1", "id=o-1"),
        ("id=a=b:c ü", "id=a=b:c ü"),
        ("type=OrderPlaced", "type=OrderPlaced"),
        ("type=PutItem", "type=PutItem"),
        (f"session={FAMILY}.1", f"session={FAMILY}.1"),
        (f"session={FAMILY}", f"session={FAMILY}"),
        ("offsets=3:5-9", "offsets=3:5-9"),
        ("offsets=3:5", "offsets=3:5-5"),
        ("offsets=03:005-9", "offsets=3:5-9"),
        ('key=things:{"id":"a"}', 'key=things:{"id":"a"}'),
        ('key=things: { "b" : 1.50, "a" : 2e1 } ', 'key=things:{"a":20,"b":1.5}'),
        ('key=:{"id":"a"}', 'key=:{"id":"a"}'),
        (
            'key=things:{"id":12345678901234567890123456789}',
            'key=things:{"id":12345678901234567890123456789}',
        ),
        ('key=things:{"id":{"S":"a"}}', 'key=things:{"id":"a"}'),
        (
            'key=things:{"id":{"B":"/w=="},"n":{"N":"1.0"}}',
            'key=things:{"id":{"B":"/w=="},"n":{"N":"1"}}',
        ),
    ],
)
def test_a_rule_has_one_normal_form(rule: str, normal: str) -> None:
    """Two replicas made under the same exclusions must find them equal, as text; and the normal
    form is a rule with the same normal form."""
    assert Exclusions([rule]).rules == (normal,)
    assert Exclusions([normal]).rules == (normal,)


def test_rules_are_sorted_and_once() -> None:
    assert Exclusions(["type=B", "offsets=1:2-2", "type=A", "offsets=1:2"]).rules == (
        "offsets=1:2-2",
        "type=A",
        "type=B",
    )


@pytest.mark.parametrize(
    "rule",
    [
        "",
        "id",
        "id=",
        "id=\udcff",  # an argument that is no UTF-8: it would be met again where it is stored
        "type=\ud800",
        "ids=a",
        "type=",
        "type=binlog.noop",
        "session=abc",
        f"session={FAMILY.upper()}.1",
        f"session={FAMILY}.0",
        f"session={FAMILY}.",
        "offsets=3",
        "offsets=3:",
        "offsets=3:0-4",
        "offsets=3:5-4",
        "offsets=x:1-2",
        "offsets=3:1-",
        "offsets=-3:1-2",
        "offsets=3:1-2-3",
        f"offsets=3:1-{1 << 48}",
        "key=things",
        "key=things:",
        "key=things:{}",
        "key=things:[1]",
        'key=things:"a"',
        'key=things:{"id":null}',
        'key=things:{"id":{"M":{}}}',
        'key=things:{"id":"a","id":"b"}',
        'key=x:{"id":"a"}',
        'key=th/ngs:{"id":"a"}',
        'key=things:{"id":1e999}',
    ],
)
def test_what_is_no_rule_is_refused_with_the_rule(rule: str) -> None:
    with pytest.raises(RefusedError) as caught:
        Exclusions([rule])
    assert repr(rule) in str(caught.value)
    assert caught.value.exit_status == 2


EVENTS = [
    msgspec.structs.replace(put("a"), id="one"),
    msgspec.structs.replace(put("b"), id="two"),
    msgspec.structs.replace(put("a", table="other"), id="three"),
    msgspec.structs.replace(delete("a"), id="four"),
    envelope("Placed", {"id": "a"}, 1, event_id="five"),
    envelope("binlog.noop", {}, None, event_id="six"),
]


@pytest.mark.parametrize(
    ("rules", "indexes"),
    [
        (["id=two"], {1}),
        (["id=two", "id=five"], {1, 4}),
        (["id=six"], set()),
        (["type=PutItem"], {0, 1, 2}),
        (["type=Placed"], {4}),
        (["type=Other"], set()),
        (['key=things:{"id":"a"}'], {0, 3}),
        (['key=other:{"id":"a"}'], {2}),
        (['key=:{"id":"a"}'], {4}),
        (['key=things:{"id":"c"}'], set()),
        ([f"session={FAMILY}.1"], {0, 1, 2, 3, 4}),
        ([f"session={FAMILY}"], {0, 1, 2, 3, 4}),
        ([f"session={FAMILY}.2"], set()),
        ([f"session={'0' * 32}"], set()),
        (["offsets=2:11-12"], {0, 1}),
        (["offsets=2:12-13"], {1, 2}),
        (["offsets=2:1-11"], {0}),
        (["offsets=2:15-99"], {4}),
        (["offsets=2:1-10", "offsets=2:17-20"], set()),
        (["offsets=1:11-12"], set()),
        (["offsets=2:16"], set()),
        (["id=two", "offsets=2:11", "type=Placed"], {0, 1, 4}),
    ],
)
def test_exactly_the_named_events_match(rules: list[str], indexes: set[int]) -> None:
    """Control events never: they change no item, and a replica must see them all."""
    run = run_of(EVENTS, partition=2, first=11)
    found = Exclusions(rules).matches(run)
    assert found == (frozenset(indexes) or None)


def test_a_family_excludes_all_its_generations() -> None:
    run = run_of([put("a")], partition=0)
    later = msgspec.structs.replace(run, session=Session(SESSION.family, 9))
    assert Exclusions([f"session={FAMILY}"]).matches(later) == frozenset({0})
    assert Exclusions([f"session={FAMILY}.1"]).matches(later) is None


KEYS = st.dictionaries(
    st.sampled_from(["id", "n", "ü"]),
    st.one_of(
        st.text(min_size=1, max_size=3).filter(lambda s: s.isprintable()),
        st.binary(min_size=1, max_size=3),
        st.integers(-5, 5),
        st.sampled_from([Decimal("0.1"), 10**37, Decimal("1E-20")]),
    ),
    min_size=1,
    max_size=2,
)


@given(KEYS, KEYS)
def test_the_rule_of_a_key_matches_that_key_alone(
    key: dict[str, Any], other: dict[str, Any]
) -> None:
    """Whatever its types: text, number, binary; never the text for the number or the bytes."""
    events = [envelope("E", key, None), envelope("E", other, None)]
    rule = _rule(events[0])
    found = Exclusions([rule]).matches(run_of(events, partition=0))
    assert found == frozenset({0, 1} if events[0].key == events[1].key else {0})


def _rule(event: Envelope) -> str:
    from binlog.json_values import encode_json, typed_item

    return f"key=:{encode_json(typed_item(decode_value(event.key))).decode()}"


def test_a_partition_that_the_log_does_not_have_is_refused() -> None:
    """A typing error must not leave everything in, silently."""
    assert parse_exclusions(["offsets=3:1-2"], partitions=4) is not None
    with pytest.raises(RefusedError, match="partition 4"):
        parse_exclusions(["offsets=1:1-2", "offsets=4:1-2"], partitions=4)

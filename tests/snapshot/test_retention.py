"""Which snapshots stay: as the policy says, and whatever others rest on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliers.store import Generation
from binlog.errors import MismatchError, RefusedError, TrimmedError
from binlog.objects import MemoryObjects
from binlog.params import Params, encode_genesis
from snapshots.retention import Term, drop, parse_policy, thin
from snapshots.retention_facts import RetentionFacts
from snapshots.snapshot import open_snapshot, snapshots_in
from snapshots.snapshot_manifest import FORMAT, Manifest
from snapshots.snapshot_take import take_snapshot
from tests.snapshot.snapshot_support import filled, new_log

HOUR, DAY, WEEK = 3_600_000, 86_400_000, 604_800_000
BASE = Manifest(
    format=FORMAT,
    id="base",
    began_ms=0,
    taken_ms=0,
    store="dynamodb://shop",
    genesis=encode_genesis(Params(log_id="ab" * 16)),
    generation=Generation("1" * 32, ("orders",), open=True, fingerprint="f", excluded=()),
    vector={},
    exact={},
    begun_sha256="",
    tables={},
    parts=(),
)


def made(taken_ms: int, id_: str = "", **fields: Any) -> Manifest:
    return msgspec.structs.replace(BASE, id=id_ or f"s{taken_ms}", taken_ms=taken_ms, **fields)


class Log:
    """What is known of one: whether it has its beginning, and from when on it can be followed."""

    def __init__(self, since_ms: int | None) -> None:
        self.since_ms = since_ms

    def has_beginning(self) -> bool:
        return self.since_ms is None

    def unfollowed(self, manifest: Manifest) -> str | None:
        assert self.since_ms is not None
        return "forgotten" if manifest.taken_ms < self.since_ms else None


WHOLE = Log(None)


def stay(manifests: list[Manifest], policy: str, log: Log | None = WHOLE) -> list[int]:
    return [
        k.manifest.taken_ms for k in thin(manifests, parse_policy(policy), facts=log) if k.stays
    ]


def test_a_policy_is_read_term_by_term() -> None:
    assert parse_policy("24h:1h, 30d:1d,all:4w") == (
        Term("24h:1h", DAY, HOUR),
        Term("30d:1d", 30 * DAY, DAY),
        Term("all:4w", None, 4 * WEEK),
    )


@pytest.mark.parametrize(
    "text", ["", "24h", "24h:", ":1h", "1x:1h", "24h:0h", "all:all", "1h:1d", "24h:1h,", "-1h:1h"]
)
def test_what_is_no_policy_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(RefusedError, match=r"--keep: .*write it as 24h:1h,30d:1d,all:4w"):
        parse_policy(text)


def test_of_each_piece_of_time_the_newest_stays() -> None:
    """Ages count from the newest, so nothing goes where none is taken any more."""
    times = [n * HOUR // 2 for n in range(48 * 3)]
    kept = stay([made(t) for t in times], "6h:1h,all:1d")
    newest = times[-1]
    hours = [t for t in times if newest - t < 6 * HOUR and t % HOUR == HOUR // 2]
    days = [DAY - HOUR // 2, 2 * DAY - HOUR // 2, 3 * DAY - HOUR // 2]
    assert kept == sorted({*hours, *days})


def test_what_was_kept_is_kept_when_the_next_one_comes() -> None:
    """Thinned at every hour, as a schedule does it, as much is left as by thinning once."""
    policy = "24h:1h,7d:1d,all:4w"
    left: list[Manifest] = []
    for hour in range(24 * 80):
        left.append(made(hour * HOUR))
        left = [k.manifest for k in thin(left, parse_policy(policy), facts=WHOLE) if k.stays]
    at_once = stay([made(hour * HOUR) for hour in range(24 * 80)], policy)
    assert [m.taken_ms for m in left] == at_once
    assert 24 + 6 <= len(left) <= 24 + 7 + 3


@given(st.lists(st.integers(0, 2000), min_size=1, max_size=30), st.integers(0, 2000))
def test_what_others_rest_on_stays(hours: list[int], since: int) -> None:
    """Whatever the policy: the newest, and the oldest that the log goes on from."""
    manifests = [made(hour * HOUR) for hour in sorted(set(hours))]
    times = [m.taken_ms for m in manifests]
    kept = stay(manifests, "1h:1h", Log(since * HOUR))
    assert times[-1] in kept
    followed = [t for t in times if t >= since * HOUR]
    if followed:
        assert min(followed) in kept
    assert times[0] in stay(manifests, "1h:1h", None), "nobody said that it is not needed"


def test_a_base_of_an_adopted_table_stays() -> None:
    """Every rebuild of the table begins at it, however old it is."""
    base = made(0, "b", adopted="orders")
    newer = [made(n * WEEK) for n in range(1, 9)]
    judged = thin([base, *newer], parse_policy("1w:1w"), facts=WHOLE)
    [kept] = [k for k in judged if k.manifest.adopted]
    assert kept.reasons == ("table orders begins at it",)
    assert not judged[1].stays


def test_stores_tables_and_exclusions_are_thinned_apart() -> None:
    """One is no replacement for another."""
    closed = msgspec.structs.replace(BASE.generation, open=False)
    without = msgspec.structs.replace(BASE.generation, excluded=("id=x",))
    manifests = [
        made(1),
        made(2, store="dynamodb://other"),
        made(3, generation=closed),
        made(4, generation=without),
        made(5),
    ]
    assert stay(manifests, "all:4w") == [2, 3, 4, 5]


def test_the_tables_beside_a_generation_stay_with_it() -> None:
    """It is restored only along with them."""
    users = Generation("2" * 32, ("users",), open=False, fingerprint="f", excluded=())
    manifests = [
        made(10 * WEEK, "open-old", without=("users",)),
        made(10 * WEEK + 5, "users-old", generation=users),
        made(11 * WEEK, "users-between", generation=users),
        made(20 * WEEK, "open-new"),
        made(20 * WEEK + 5, "users-new", generation=users),
    ]
    judged = {k.manifest.id: k.reasons for k in thin(manifests, parse_policy("1w:1w"), facts=None)}
    assert "the oldest, since no log was named" in judged["open-old"]
    assert "table users beside open-old" in judged["users-old"]
    assert judged["users-between"] == ()


def test_the_tables_of_an_open_generation_are_not_beside_another() -> None:
    """One that had them itself, before a rebuild took them over, cannot be restored along."""
    users = Generation("u", ("users",), open=False, fingerprint="{}", excluded=())
    before = Generation("b", ("orders", "users"), open=True, fingerprint="{}", excluded=())
    manifests = [
        made(20 * WEEK - 1, "open-before", generation=before),
        made(20 * WEEK, "open-after", without=("users",)),
        made(20 * WEEK + 2, "users-first", generation=users),
        made(30 * WEEK, "users-last", generation=users),
    ]
    judged = {k.manifest.id: k.reasons for k in thin(manifests, parse_policy("1w:1w"), facts=WHOLE)}
    assert "table users beside open-after" in judged["users-first"]
    assert not any("beside" in reason for reason in judged["open-before"])


def test_of_several_logs_none_is_judged_by_one() -> None:
    other = made(2, genesis=encode_genesis(Params(log_id="cd" * 16)))
    with pytest.raises(RefusedError, match="several logs"):
        thin([made(1), other], parse_policy("1w:1w"), facts=WHOLE)
    assert len(thin([made(1), other], parse_policy("1w:1w"))) == 2


def test_what_goes_is_gone_whole_and_the_rest_untouched(tmp_path: Path) -> None:
    _, store = filled(tmp_path)
    objects = MemoryObjects()
    first, second = (take_snapshot(store, objects, anew=True) for _ in range(2))
    drop(objects, [first])
    assert snapshots_in(objects) == [second]
    assert all(second.id in entry.key for entry in objects.list())
    assert dict(open_snapshot(objects).rows("orders"))


def test_a_log_is_asked_and_has_to_be_theirs(tmp_path: Path) -> None:
    log, store = filled(tmp_path)
    objects = MemoryObjects()
    manifest = take_snapshot(store, objects)
    facts = RetentionFacts(log, objects, [manifest])
    assert facts.has_beginning()
    assert facts.unfollowed(manifest) is None
    with pytest.raises(MismatchError, match="is of log abab"):
        RetentionFacts(new_log(tmp_path / "other", log_id="cd"), objects, [manifest])

    class Forgetful:
        def __getattr__(self, name: str) -> Any:
            return getattr(log, name)

        def read(self, *_: Any, **__: Any) -> Any:
            raise TrimmedError("forgotten", "log")

    assert not RetentionFacts(Forgetful(), objects, [manifest]).has_beginning()

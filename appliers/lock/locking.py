"""The two things that one does with a lock: check it, and extend it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from appliers.applier import Rules
from appliers.lock.check import check
from appliers.lock.document import Lock, encode_lock
from appliers.lock.finding import Finding, Words
from appliers.lock.forgetting import without_retired, without_unpublished
from appliers.lock.update import update


class Vouched(msgspec.Struct, frozen=True, kw_only=True):
    """What a person says of the code that no check can see."""

    same_meaning: bool = False  # all source that changed computes what it did
    unpublished: Sequence[str] = ()  # TYPE or TYPE@N: no log holds events of it
    retired: Sequence[str] = ()  # TYPE:TABLE or :TABLE


class Locked(msgspec.Struct, frozen=True):
    """What locking comes to. With a breaking finding there is no new lock."""

    findings: list[Finding]
    remarks: list[str] = []
    lock: Lock | None = None
    changed: bool = False


def extend(
    lock: Lock | None,
    rules: Rules,
    words: Words,
    *,
    vouched: Vouched,
    keys: Mapping[str, Sequence[str]] | None = None,
) -> Locked:
    """``lock`` (``None``: none yet) brought up to what ``rules`` declare.

    Raises:
        RefusedError: see `check`, `update` and `forgetting`.
    """
    base = Lock() if lock is None else lock
    base = without_retired(without_unpublished(base, vouched.unpublished), vouched.retired)
    found = check(base, rules, words)
    if vouched.same_meaning:
        found = [finding for finding in found if finding.kind != "source changed"]
    if any(finding.breaking for finding in found):
        return Locked(found)
    updated = update(base, rules, keys=keys)
    # Events that were only made now may meet an upcaster that does not take them.
    if breaking := [f for f in check(updated.lock, rules, words) if f.breaking]:
        return Locked(breaking)
    changed = lock is None or encode_lock(updated.lock) != encode_lock(lock)
    return Locked(found, updated.remarks, updated.lock, changed)

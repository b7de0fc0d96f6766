"""Which snapshots are kept: so many a time, fewer the older they are, and whatever others rest on.

A policy is written ``24h:1h,30d:1d,all:4w``: of the last 24 hours one an hour, of the last 30 days one
a day, of all others one in four weeks. Lengths are whole numbers of s, m, h, d or w.

* Ages are counted from the newest snapshot, not from now: where none is taken any more none goes.
* A time is cut into pieces that do not move (of the clock, from 1970 on), and of each piece the newest
  is kept. So what was kept yesterday is kept today, and the newest of a day is the newest of its hour.
* Stores, sets of tables and exclusions are thinned apart: one is no replacement for another.

Whatever the policy says, these stay (`Facts`, and what only manifests tell):

* the newest;
* the base of an adopted table: every rebuild of it begins there;
* the oldest that the log, its archive included, can be followed from, unless the log still has its
  beginning: without it what is archived before the next snapshot could be read and not used. Where no
  log is named, the oldest;
* of a generation whose store had others beside it, for each of their tables the one nearest in time:
  it is restored only along with them.

What cannot be read is not touched.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Protocol

import msgspec

from binlog.errors import RefusedError
from binlog.objects.objects import Objects
from snapshots.snapshot import age
from snapshots.snapshot_chain import keys_of, remove
from snapshots.snapshot_manifest import Manifest, begun_key, manifest_key

_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_LENGTH = re.compile(r"([1-9]\d{0,5})([smhdw])", re.ASCII)
_FORM = "write it as 24h:1h,30d:1d,all:4w"


class Term(msgspec.Struct, frozen=True):
    """One piece of a policy."""

    text: str
    within_ms: int | None  # of the newest; ``None``: all
    every_ms: int


class Kept(msgspec.Struct, frozen=True):
    """A snapshot, and why it stays; without a reason it goes."""

    manifest: Manifest
    reasons: tuple[str, ...]

    @property
    def stays(self) -> bool:
        """Whether anything keeps it."""
        return bool(self.reasons)


class Facts(Protocol):
    """What only a log can tell."""

    def has_beginning(self) -> bool:
        """Whether it can be read from its first record on."""

    def unfollowed(self, manifest: Manifest) -> str | None:
        """Why it cannot be read on from a snapshot; ``None``: it can."""


def parse_policy(text: str) -> tuple[Term, ...]:
    """The terms of a policy.

    Raises:
        RefusedError: it is none.
    """
    terms = []
    for piece in text.split(","):
        within, colon, every = piece.strip().partition(":")
        if not colon:
            raise RefusedError(f"--keep: {piece.strip()!r} is no term of a policy", do=_FORM)
        term = Term(piece.strip(), None if within == "all" else _length(within), _length(every))
        if term.within_ms is not None and term.within_ms < term.every_ms:
            raise RefusedError(
                f"--keep: {term.text}: of so short a time one in {every} is one at most", do=_FORM
            )
        terms.append(term)
    return tuple(terms)


def _length(text: str) -> int:
    match = _LENGTH.fullmatch(text)
    if match is None:
        raise RefusedError(f"--keep: {text!r} is no length of time", do=_FORM)
    return int(match[1]) * _MS[match[2]]


def thin(
    manifests: Iterable[Manifest], policy: Sequence[Term], *, facts: Facts | None = None
) -> list[Kept]:
    """Each of ``manifests``, oldest first, and why it stays. ``facts`` of their log, if it is named.

    Raises:
        RefusedError: they are of several logs, and one was named.
    """
    ordered = sorted(manifests, key=age)
    if facts is not None and len({m.genesis for m in ordered}) > 1:
        raise RefusedError(
            "there are snapshots of several logs", do="thin those of each in a place of their own"
        )
    reasons: dict[str, list[str]] = {m.id: [] for m in ordered}
    for _, group in groupby(sorted(ordered, key=_series), key=_series):
        _thin_series(sorted(group, key=age), policy, facts, reasons)
    _keep_companions(ordered, reasons)
    return [Kept(m, tuple(reasons[m.id])) for m in ordered]


def _series(manifest: Manifest) -> tuple[object, ...]:
    """Those alike are each other's replacement."""
    generation = manifest.generation
    tables = () if generation.open else generation.tables
    return (
        *(manifest.genesis, manifest.store, generation.open, tables),
        *(generation.excluded, manifest.adopted or ""),
    )


def _thin_series(
    series: Sequence[Manifest],
    policy: Sequence[Term],
    facts: Facts | None,
    reasons: dict[str, list[str]],
) -> None:
    newest = series[-1]
    if newest.adopted is not None:
        for manifest in series:
            reasons[manifest.id].append(f"table {manifest.adopted} begins at it")
        return
    reasons[newest.id].append("the newest")
    for term in policy:
        pieces: dict[int, Manifest] = {}  # the newest of each
        for manifest in series:
            if term.within_ms is None or newest.taken_ms - manifest.taken_ms < term.within_ms:
                pieces[manifest.taken_ms // term.every_ms] = manifest
        for manifest in pieces.values():
            reasons[manifest.id].append(term.text)
    if facts is None:
        reasons[series[0].id].append("the oldest, since no log was named")
    elif not facts.has_beginning():
        first = next((m for m in series if facts.unfollowed(m) is None), None)
        if first is not None:
            reasons[first.id].append("the oldest that the log can be followed from")


def _keep_companions(ordered: Sequence[Manifest], reasons: dict[str, list[str]]) -> None:
    for manifest in ordered:
        if not reasons[manifest.id]:
            continue
        for table in manifest.without:
            beside = [
                m
                for m in ordered
                if (m.store, m.genesis, m.adopted) == (manifest.store, manifest.genesis, None)
                and table in m.generation.tables
                and m.id != manifest.id
                # Two open ones cannot be restored into one store.
                and not (m.generation.open and manifest.generation.open)
            ]
            if beside:
                nearest = min(beside, key=lambda m: abs(m.taken_ms - manifest.taken_ms))
                reason = f"table {table} beside {manifest.id}"
                if reason not in reasons[nearest.id]:
                    reasons[nearest.id].append(reason)


def drop(objects: Objects, manifests: Iterable[Manifest]) -> None:
    """Remove snapshots: a manifest goes first, so that what is left of one is nobody's.

    The beginning goes with it, in one call: without that nobody takes the manifest for lost.
    """
    for manifest in manifests:
        objects.delete([manifest_key(manifest.id), begun_key(manifest.id)])
        remove(objects, keys_of(objects, manifest.id))

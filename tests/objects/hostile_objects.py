"""Objects that behave as badly as the contract lets them, by a seed; for everybody's tests.

``HostileObjects(MemoryObjects(), Random(seed), Fates(...))`` is an `Objects`. What may happen to a
call, each with its own probability:

==============  =========================================================================
lost before     `StorageError`, and nothing was done
lost after      `StorageError`, and it was done
late            `StorageError`, and it is done at a later call: a write under way, which then
                stands (or finds that something else does), and a note over a newer one
crash before    `Crashed`, nothing was done: whoever called is dead
crash after     `Crashed`, and it was done
raced           before the call `rival` is called, which may do what it likes
flip            the bytes of a `get` have one bit turned, on their way; the object is whole
cut             a `get` fails after the service was asked
==============  =========================================================================

`HostileObjects.seen` counts what happened, by these names: a run that is to meet every one of them
can say so. `HostileObjects.calm` ends it all, and lets what is late land. `flip_at_rest` and
`cut_at_rest` damage an object where it is kept.

At the level of S3 itself (409, 412, 503, replies lost below the SDK) see `s3_double`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import TypeVar

from binlog.errors import StorageError
from binlog.objects import Entry, Objects

_T = TypeVar("_T")


class Crashed(BaseException):
    """The calling process ends here."""


@dataclass(frozen=True)
class Fates:
    """How probable each is, of one call."""

    lost_before: float = 0.0
    lost_after: float = 0.0
    late: float = 0.0
    crash_before: float = 0.0
    crash_after: float = 0.0
    raced: float = 0.0
    flip: float = 0.0
    cut: float = 0.0


ALL = Fates(
    lost_before=0.06,
    lost_after=0.06,
    late=0.06,
    crash_before=0.03,
    crash_after=0.03,
    raced=0.15,
    cut=0.05,
)
"""Everything that an honest storage may do; it flips no bits."""


class HostileObjects:
    """An `Objects` over another one, which several of these may share."""

    def __init__(
        self,
        inner: Objects,
        random: Random,
        fates: Fates = ALL,
        *,
        rival: Callable[[], None] | None = None,
    ) -> None:
        self.inner = inner
        self.name = inner.name
        self.random = random
        self.fates = fates
        self.rival = rival
        self.seen: Counter[str] = Counter()
        self._late: list[Callable[[], object]] = []
        self._is_in_rival = False

    def calm(self) -> None:
        """What was under way lands; from now on nothing happens any more."""
        self.fates = Fates()
        while self._late:
            self._late.pop(0)()

    # -- calls -------------------------------------------------------------------------------------

    def put_new(self, key: str, data: bytes) -> bool:
        data = bytes(data)
        return self._write("put_new", key, lambda: self.inner.put_new(key, data))

    def put(self, key: str, data: bytes) -> None:
        data = bytes(data)
        self._write("put", key, lambda: self.inner.put(key, data))

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes | None:
        self._before("get", key)
        found = self.inner.get(key, start, length)
        if self._is("cut"):
            raise StorageError("the reply was cut", f"{self.name}/{key}", "try again")
        if found and self._is("flip"):
            return flipped(found, self.random.randrange(8 * len(found)))
        return found

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Entry]:
        self._before("list", prefix)
        for entry in self.inner.list(prefix, after=after):
            if self._is("cut"):
                raise StorageError("a page was lost", self.name, "try again")
            yield entry

    def delete(self, keys: Iterable[str]) -> None:
        for key in list(keys):
            self._write("delete", key, partial(self.inner.delete, [key]))

    def close(self) -> None:
        """The one underneath is its owner's."""

    # -- fates -------------------------------------------------------------------------------------

    def _is(self, name: str) -> bool:
        probability: float = getattr(self.fates, name)
        happens = probability > 0 and self.random.random() < probability
        if happens:
            self.seen[name.replace("_", " ")] += 1
        return happens

    def _before(self, verb: str, key: str) -> None:
        if self._late and self.random.random() < 0.5:
            self._late.pop(self.random.randrange(len(self._late)))()
        if self.rival is not None and not self._is_in_rival and self._is("raced"):
            self._is_in_rival = True  # its own calls are not raced again
            try:
                self.rival()
            finally:
                self._is_in_rival = False
        if self._is("crash_before"):
            raise Crashed(f"before {verb} {key}")
        if self._is("lost_before"):
            raise self._unknown(verb, key)

    def _write(self, verb: str, key: str, call: Callable[[], _T]) -> _T:
        self._before(verb, key)
        if self._is("late"):
            self._late.append(call)
            raise self._unknown(verb, key)
        done = call()
        if self._is("crash_after"):
            raise Crashed(f"after {verb} {key}")
        if self._is("lost_after"):
            raise self._unknown(verb, key)
        return done

    def _unknown(self, verb: str, key: str) -> StorageError:
        return StorageError(f"no reply to {verb}", f"{self.name}/{key}", "try again")


# -- damage where it is kept -------------------------------------------------------------------------


def flipped(data: bytes, bit: int) -> bytes:
    """``data`` with one bit turned."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def flip_at_rest(objects: Objects, key: str, bit: int) -> None:
    """Turn one bit of an object; ``bit`` is taken modulo its size."""
    data = objects.get(key)
    assert data, f"{key} holds nothing that could be flipped"
    objects.put(key, flipped(data, bit % (8 * len(data))))


def cut_at_rest(objects: Objects, key: str, size: int) -> None:
    """Let only the first ``size`` bytes of an object be there."""
    data = objects.get(key)
    assert data is not None
    assert size < len(data), f"{key} has no {size + 1} bytes"
    objects.put(key, data[:size])

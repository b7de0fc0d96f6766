"""Tells what happens in a world, in the domain's words, and writes it down as code to repeat it.

A story is read by who knows the domain and neither the log nor this project. So it says who sent
which event, what got lost, who crashed and how far everybody has come; what changes nothing for
anybody (a wait that nothing came of, a turn in which nothing was read) is left out or drawn
together. Events are called by the number of their publishing, ``#3``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from binlog.columns import decode_columns
from binlog.envelope import Envelope
from binlog.frame import decode_body, decode_header
from binlog.producer.outcome import Outcome
from binlog.testing.words import event_code, say_event, say_item, say_key
from binlog.testing.world.cell import Cell
from binlog.testing.world.producers import FOUND_LATER, Published
from binlog.values import decode_value
from binlog.vector import Vector

_EVENTS_MAX = 8  # of one publishing that are told one by one
_ITEMS_MAX = 12  # that are told of one replica
_FATES = {
    "land": "it lands",
    "duplicate": "it lands twice",
    "lose reply": "it lands, but the reply is lost",
    "late": "it stays under way, and nobody replies",
    "lose": "it is lost on the way",
    "throttle": "the log refuses it: too much at once",
    FOUND_LATER: "the log has it, but readers will find it later",
}
_HEARD = {
    Outcome.ACKNOWLEDGED: "acknowledged",
    Outcome.UNKNOWN: "unknown: it may or may not be in the log",
    Outcome.FAILED: "not sent",
}
_ENDED = {
    "crashed": "its consumer crashes",
    "timed out": "its consumer is not told how its commit ended",
    "lost": "its consumer finds itself replaced",
}


class Narrator:
    """Keeps ``story`` and ``code``, which it is given, up to date."""

    def __init__(self, story: list[str], code: list[str]) -> None:
        self._story = story
        self._code = code
        self._waited_ms = 0  # told by the last line
        self._sent: dict[tuple[int, ...], int] = {}  # by events: the line that says it, if it lands

    # -- code ------------------------------------------------------------------------------------

    def called(self, name: str, *args: object, **options: object) -> None:
        """A happening of the world, as a line that makes it happen again."""
        texts = [_code_of(arg) for arg in args]
        texts += [f"{option}={value!r}" for option, value in options.items()]
        line = f"world.{name}({', '.join(texts)})"
        if name == "tick" and self._code and self._code[-1].startswith("world.tick("):
            waited = int(self._code[-1][len("world.tick(") : -1])
            # Short waits and long ones differ: what is found later, is found before the long.
            if isinstance(args[0], int) and max(waited, args[0]) + args[0] <= 20:
                self._code[-1] = f"world.tick({waited + args[0]})"
                return
        self._code.append(line)

    # -- words -----------------------------------------------------------------------------------

    def say(self, line: str) -> None:
        self._story.append(line)
        self._waited_ms = 0

    def waited(self, ms: int) -> None:
        before, self._waited_ms = self._waited_ms, self._waited_ms + ms
        line = f"{self._waited_ms} ms pass"
        if before:
            self._story[-1] = line
        else:
            self._story.append(line)

    def published(self, process: int, entries: Sequence[Published]) -> None:
        if not entries:
            self.say(f"process {process} has too much waiting, and publishes nothing")
        told = entries if len(entries) <= _EVENTS_MAX else entries[: _EVENTS_MAX - 1]
        for entry in told:
            self.say(f"process {process} publishes #{entry.serial}: {say_event(entry.event)}")
        if more := entries[len(told) :]:
            serials = _numbers([entry.serial for entry in more])
            self.say(f"process {process} publishes {len(more)} more events: {serials}")

    def sent(self, process: int, frames: Iterable[bytes], fates: Iterable[str]) -> None:
        self._sent.clear()
        for data, fate in zip(frames, fates, strict=True):
            serials = serials_in(data)
            if fate == "land":
                self._sent[tuple(serials)] = len(self._story)
            self.say(f"process {process} sends {_numbers(serials)}: {_FATES[fate]}")

    def heard(self, entries: Iterable[Published]) -> None:
        """Entries that have an outcome now which they had not before."""
        by_outcome: dict[Outcome, list[int]] = {}
        for entry in entries:
            if entry.outcome is not None:
                by_outcome.setdefault(entry.outcome, []).append(entry.serial)
        acknowledged = set(by_outcome.get(Outcome.ACKNOWLEDGED, ()))
        for serials, line in self._sent.items():
            if acknowledged.issuperset(serials):  # nothing but what one expects
                acknowledged -= set(serials)
                self._story[line] = f"{self._story[line]}, and is acknowledged"
        self._sent.clear()
        if acknowledged:
            by_outcome[Outcome.ACKNOWLEDGED] = sorted(acknowledged)
        else:
            by_outcome.pop(Outcome.ACKNOWLEDGED, None)
        for outcome, told in by_outcome.items():
            self.say(f"{_numbers(told)} {_is(told)} {_HEARD[outcome]}")

    def turned(self, who: str, before: Vector, after: Vector, how: str) -> None:
        """A consumer had its turn."""
        if before != after:
            self.say(f"{who} has applied {_said(after)}")
        if how in _ENDED:
            self.say(f"{who}: {_ENDED[how]}")

    def holds(self, who: str, rows: Mapping[str, Mapping[bytes, tuple[int, bytes | None]]]) -> None:
        """What a replica holds in the end."""
        items = [
            f"{table} {say_key(key)} = {say_item(_decoded(data))} (version {version})"
            for table, of_table in sorted(rows.items())
            for key, (version, data) in sorted(of_table.items())
        ]
        more = [f"and {len(items) - _ITEMS_MAX} more"] if len(items) > _ITEMS_MAX else []
        self.say(f"{who} holds {'; '.join(items[:_ITEMS_MAX] + more) or 'nothing'}")


def rows_of(cells: Mapping[str, Mapping[bytes, Cell]]) -> dict[str, dict[bytes, Any]]:
    """The reference's items in the form that `Narrator.holds` takes."""
    return {
        table: {key: (cell.version, cell.data) for key, cell in rows.items()}
        for table, rows in cells.items()
    }


def events_in(data: bytes) -> str:
    """The numbers of the events in a frame of a producer."""
    return _numbers(serials_in(data))


def serials_in(data: bytes) -> list[int]:
    """As `events_in`."""
    header = decode_header(data)
    columns = decode_columns(decode_body(data, header), header.count)
    return [envelope.time_ms for envelope in columns.envelopes()]


def _numbers(serials: Sequence[int]) -> str:
    if len(serials) > 2 and list(serials) == list(range(serials[0], serials[-1] + 1)):
        return f"#{serials[0]} to #{serials[-1]}"
    return ", ".join(f"#{serial}" for serial in serials)


def _is(serials: Sequence[int]) -> str:
    return "is" if len(serials) == 1 else "are"


def _said(vector: Vector) -> str:
    if not vector:
        return "nothing"
    return ", ".join(f"{n} of partition {p}" for p, n in vector.items())


def _decoded(data: bytes | None) -> Any:
    return None if data is None else decode_value(data)


def _code_of(arg: object) -> str:
    if isinstance(arg, list) and arg and isinstance(arg[0], Envelope):
        return f"[{', '.join(map(_event_code, arg))}]"
    return f'"{arg}"' if isinstance(arg, str) else repr(arg)


def _event_code(event: Envelope) -> str:
    code, time = event_code(event), f", now_ms={event.time_ms})"
    # The world gives each event a time of its own.
    return f"{code.removesuffix(time)})" if code.endswith(time) else code

"""What relays of one inbox have done so far: read from the log, where else.

All relays of an inbox write under one session family, which follows from the log's id and the
inbox. What the sequencer accepts of that family is what they did, and what a relay that begins
goes by: it has no state of its own. Beside the events there are marks, control records that say up
to which number a lane is done, so that nobody has to remember every id there ever was.
"""

from __future__ import annotations

from collections.abc import Mapping

from binlog.control import RELAY_TYPE
from binlog.envelope import Envelope
from binlog.errors import DamageError, LostError
from binlog.foreign import Place, relay_family
from binlog.frame import Session
from binlog.log import Log
from binlog.reader import Reader
from binlog.run import Run
from binlog.values import decode_value, encode_value

PAGE_BYTES = 1024 * 1024
FENCE_ID = "fence/"
MARK_ID = "mark/"
ONE_ONLY = "let one of them run; what this one has sent is in the log once"
_EMPTY_KEY = encode_value({})


class OwnFrames:
    """Follows a log and notes what was accepted of the relays of one inbox."""

    def __init__(self, log: Log, identity: str) -> None:
        self.family = relay_family(bytes.fromhex(log.params.log_id), identity)
        self.done: dict[str, int] = {}  # by lane: all up to that number is in the log
        self.seen: dict[str, dict[int, set[str]]] = {}  # ids of events beyond, by lane and number
        self.accepted: dict[int, int] = {}  # by partition, of our session: the last number
        self.fences: dict[int, str] = {}  # by partition, of our session: the id of number 1
        self.generation = 0  # the highest there is
        self.diverted: set[Place] = set()  # foreign records that somebody decided to keep
        self._session: Session | None = None
        self._log = log
        self._is_by_hand = log.params.foreign == "halt"
        self._reader = Reader(log, page_bytes=PAGE_BYTES)

    def begin(self, session: Session) -> None:
        """Call a session ours, from here on."""
        self._session = session
        self.accepted, self.fences = {}, {}

    def read(self, *, wait_s: float = 0.0) -> bool:
        """Take in one page; whether there was any.

        Raises:
            LostError: another relay of the inbox has begun after ours.
            HaltedError: nothing more can be read, and a partition is halted.
        """
        runs = self._reader.read(wait_s=wait_s)
        if runs is None:
            if self._reader.halts:
                self._reader.retry_halted()  # somebody may have decided meanwhile
                runs = self._reader.read()
                if not runs:  # a page may hold the record that halts again, and no event
                    self._reader.raise_halts()
            if runs is None:
                return False
        if self._is_by_hand:
            self.diverted.update(record.place for record in self._reader.foreign)
        for run in runs:
            if run.session.family == self.family:
                self._note(run)
        # All of the page is noted before: who begins anew with this goes on behind it.
        ours = self._session
        if ours is not None and self.generation > ours.generation:
            self._session = None
            raise LostError(
                f"another relay of this inbox has begun after {ours}", self._log.name, ONE_ONLY
            )
        return True

    def has(self, lane: str, number: int, event_id: str) -> bool:
        """Whether an event of a record is in the log."""
        return number <= self.done.get(lane, -1) or event_id in self.seen.get(lane, {}).get(
            number, ()
        )

    def finish(self, lane: str, number: int) -> None:
        """All of the lane up to ``number`` is in the log: no id of it is needed any more."""
        self.done[lane] = max(number, self.done.get(lane, -1))
        beyond = self.seen.get(lane, {})
        for each in [each for each in beyond if each <= number]:
            del beyond[each]

    def _note(self, run: Run) -> None:
        ours = self._session
        self.generation = max(self.generation, run.session.generation)
        for number, envelope in zip(run.numbers, run.columns.envelopes(), strict=True):
            if run.session == ours and number == 1:
                self.fences[run.partition] = envelope.id
            if envelope.type == RELAY_TYPE and envelope.id.startswith(MARK_ID):
                for lane, done in marks_of(envelope).items():
                    self.finish(lane, done)
            elif (place := place_of(envelope.id)) is not None:
                lane, at = place
                self.seen.setdefault(lane, {}).setdefault(at, set()).add(envelope.id)
        if run.session == ours:
            self.accepted[run.partition] = run.numbers[-1]


def fence(token: str) -> Envelope:
    """Number 1 of a session in a partition: what came before is closed from there on (P7)."""
    return Envelope(FENCE_ID + token, RELAY_TYPE, 1, "", _EMPTY_KEY, None)


def mark(done: Mapping[str, int], now_ms: int) -> Envelope:
    """The record that all up to these numbers is in the log, lane by lane."""
    text = {lane: str(number) for lane, number in sorted(done.items())}  # up to 56 digits
    data = encode_value({"done": text})
    return Envelope(f"{MARK_ID}{now_ms}", RELAY_TYPE, 1, "", _EMPTY_KEY, data, time_ms=now_ms)


def marks_of(envelope: Envelope) -> dict[str, int]:
    """What a mark says; nothing, if it is none that a relay has written."""
    try:
        content = decode_value(envelope.data or b"")
        return {lane: int(number) for lane, number in content["done"].items()}
    except (DamageError, TypeError, KeyError, ValueError, AttributeError):
        return {}


def place_of(event_id: str) -> Place | None:
    """The record of an event that a relay wrote, readable or not, whichever part it is."""
    kind, _, rest = event_id.partition("/")
    lane, _, number = rest.partition("/")
    number = number.partition("/")[0]
    if kind not in ("relay", "unreadable") or not (number.isascii() and number.isdigit()):
        return None
    return (lane, int(number)) if len(number) <= 64 else None

"""What the sequencer remembers between two records, and its bytes in a checkpoint.

The bytes are msgpack with every list in a fixed order, so equal states are equal bytes. The first
element is the format's version; a newer one is refused, never guessed at.
"""

from __future__ import annotations

import msgspec

from binlog.errors import DamageError, UpgradeError
from binlog.frame import Predecessor, Session

STATE_FORMAT = 1


class Held(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A frame that waits for an earlier one, whole, since the stream may not be read again."""

    first: int
    count: int
    arrival_ms: int
    sequence_text: str  # 56 digits on Kinesis: beyond msgpack's integers
    data: bytes

    @property
    def last(self) -> int:
        return self.first + self.count - 1

    @property
    def sequence(self) -> int:
        return int(self.sequence_text)


class SessionState(msgspec.Struct, array_like=True):
    """One session in one partition. ``next`` is the number that comes next."""

    session: Session
    born_ms: int
    next: int
    started: bool = False  # a frame of it was accepted: older generations are closed
    waits_for: Predecessor | None = None
    held: list[Held] = []  # in the order of their records
    given_up: list[tuple[int, int]] = []  # ranges of numbers, inclusive

    def give_up(self, lowest: int) -> None:
        """Stop waiting: for the numbers before ``lowest``, and for the predecessor."""
        if lowest > self.next:
            self.given_up = [*self.given_up, (self.next, lowest - 1)]
            self.next = lowest
        self.waits_for = None

    def gave_up(self, first: int, last: int) -> int:
        """How many of the numbers ``first`` to ``last`` were given up."""
        return sum(max(0, min(last, b) - max(first, a) + 1) for a, b in self.given_up)


class Closed(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Generations of ``family`` below ``generation`` are closed; forgotten after ``until_ms``."""

    family: bytes
    generation: int
    until_ms: int


class SequencerState(msgspec.Struct, array_like=True):
    """The whole of it, for one partition."""

    format: int = STATE_FORMAT
    offset: int = 0
    mark: int = 0
    digest: bytes = bytes(32)
    begun: bool = False  # the genesis record was seen
    hold_factor: int = 1  # doubled by a RESOLVE "hold"
    changes: dict[str, int | str] = {}  # by PARAMS records; the archive that they name
    sessions: list[SessionState] = []
    closed: list[Closed] = []
    window: list[tuple[bytes, bytes]] = []
    place: bytes = b""  # whoever saves it: the log's stamp of the position that it belongs to

    def encode(self) -> bytes:
        return _encode(self)

    @classmethod
    def decode(cls, data: bytes) -> SequencerState:
        """The state whose bytes are ``data``.

        Raises:
            UpgradeError: a newer format.
            DamageError: no state at all; never read as "from the start".
        """
        try:
            found = msgspec.msgpack.decode(data)[0]
            if isinstance(found, int) and found > STATE_FORMAT:
                raise UpgradeError(
                    f"sequencer state of format {found}, this code reads {STATE_FORMAT}",
                    do="upgrade binlog",
                )
            return _decode(data)
        except (msgspec.DecodeError, TypeError, IndexError, KeyError, ValueError) as error:
            raise DamageError(f"a damaged sequencer state ({error})") from error


_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_decode = msgspec.msgpack.Decoder(SequencerState).decode


class Counters(msgspec.Struct):
    """What a sequencer met since it was made; not part of its state, never decides anything."""

    accepted: int = 0  # envelopes
    duplicates: int = 0  # envelopes, in frames wholly or partly known
    expired: int = 0  # frames
    closed: int = 0  # frames of a generation closed by a later one
    held: int = 0  # frames
    drained: int = 0  # frames held before and accepted now
    window_dropped: int = 0  # envelopes
    id_reused: int = 0  # envelopes with the id of another event
    given_up_late: int = 0  # envelopes that a RESOLVE gave up and that came after all
    skipped: int = 0  # records or frames dropped by a RESOLVE

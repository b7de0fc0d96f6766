"""What people and broken programs do to a log: damage, decisions about halts, no-ops.

And what every record of the world's log means, for the reference: whoever wrote it said so when he
did; a frame of a producer is read from its bytes.
"""

from __future__ import annotations

from binlog.columns import decode_columns
from binlog.control import NOOP_TYPE, noop_frame, resolve_frame
from binlog.envelope import PUT_ITEM, Envelope
from binlog.frame import Header, Predecessor, Session, decode_body, decode_header
from binlog.halt import DECISIONS, Halt, resolution_for
from binlog.log import Appended, Put, Record
from binlog.testing.world.garbage import GARBAGE
from binlog.testing.world.log import WorldLog
from binlog.testing.world.producers import PARAMS
from binlog.testing.world.records import EMPTY_KEY, Frame, Garbage, Log, Rec, Resolve
from binlog.values import encode_value

_FIRST_FAMILY = 10**9  # producers count from 1
_TRUE_OF_OTHERS = ("another partition", "too many envelopes")  # of other parameters than PARAMS
DAMAGES = tuple(maker for maker in GARBAGE if maker[0] not in _TRUE_OF_OTHERS)
_LOST = tuple(
    Envelope(name, PUT_ITEM, 1, "lost", encode_value({"id": name}), encode_value({"id": name}))
    for name in ("a", "b")
)


class Operators:
    """Those of one log."""

    def __init__(self, log: WorldLog) -> None:
        self._log = log
        self._families = _FIRST_FAMILY
        self._garbage: dict[bytes, str] = {}  # why, by the record's bytes
        self._resolves: dict[bytes, Resolve] = {}  # by family
        self._frames: dict[bytes, Frame] = {}  # a duplicate is decoded once
        self._bodies: dict[bytes, bytes] = {}  # of the same
        self._strays: dict[tuple[int, int], tuple[bytes, int]] = {}  # family and birth

    def _family(self) -> bytes:
        self._families += 1
        return self._families.to_bytes(16, "big")

    # -- doing -----------------------------------------------------------------------------------

    def damage(self, partition: int, which: int) -> str:
        """A record that is no frame lands in a partition; why it is none."""
        why, make = DAMAGES[which % len(DAMAGES)]
        born = self._log.now_ms()
        # A session that nobody has, so that nothing but the reason can stop it.
        frame = Frame(born, Session(self._family(), 1), born, 1, _LOST)
        data = make(Log(PARAMS, partition), frame)
        self._garbage[data] = why
        self._log.inject(partition, data)
        return why

    def stray(self, partition: int, family: int, generation: int, number: int) -> None:
        """A frame of a no-op lands, of a session that may have no other.

        ``family`` is by partition, and born when it is first named. The first frame of each
        generation waits for number 2 of the one before it.
        """
        place = partition, family
        if place not in self._strays:
            self._strays[place] = self._family(), self._log.now_ms()
        named, born = self._strays[place]
        noop = Envelope(
            f"{partition}.{family}.{generation}.{number}", NOOP_TYPE, 1, "", EMPTY_KEY, None
        )
        after = Predecessor(generation - 1, 2, born) if generation > 1 and number == 1 else None
        frame = Frame(self._log.now_ms(), Session(named, generation), born, number, (noop,), after)
        self._log.inject(partition, Log(PARAMS, partition).encoded(frame).data)

    def resolve(self, halt: Halt, which: int) -> str:
        """Somebody lifts a halt; the decision."""
        decisions = DECISIONS[halt.rule]
        decision = decisions[which % len(decisions)]
        session = Session(self._family(), 1)
        frame = resolve_frame(
            PARAMS,
            self._log.genesis,
            resolution_for(halt, decision),
            family=session.family,
            now_ms=self._log.now_ms(),
        )
        [reply] = self._log.append([Put(halt.partition, frame)])
        assert isinstance(reply, Appended)
        places = [
            (shard, record.sequence) for shard, record in self._log.records(halt.partition)[1:]
        ]
        self._resolves[session.family] = Resolve(
            reply.arrival_ms,
            session,
            reply.born_ms,
            places.index((halt.position.shard, halt.position.sequence)),
            halt.rule,
            halt.session,
            halt.offset,
            decision,
        )
        return decision

    def stray_families(self) -> set[bytes]:
        """Those of broken programs."""
        return {family for family, _ in self._strays.values()}

    def noop(self, partition: int) -> None:
        """Somebody moves the mark of a quiet partition."""
        log = self._log
        frame = noop_frame(
            PARAMS, log.genesis, partition, family=self._family(), now_ms=log.now_ms()
        )
        log.append([Put(partition, frame)])

    # -- meaning ---------------------------------------------------------------------------------

    def meaning(self, record: Record) -> Rec:
        """What a record of the log means, the genesis record left out."""
        data = record.data
        if data in self._garbage:
            return Garbage(record.arrival_ms, self._garbage[data], data)
        known = self._frames.get(data)
        if known is not None and known.arrival == record.arrival_ms:
            return known
        header = decode_header(data)
        if header.resolve:
            return self._resolves[header.session.family]
        body = self._bodies[data] = decode_body(data, header)
        frame = self._frames[data] = meaning_of(record, header, body)
        return frame

    def body(self, record: Record) -> bytes:
        """The body of a record that is a frame, decompressed."""
        body = self._bodies.get(record.data)
        return decode_body(record.data, decode_header(record.data)) if body is None else body

    def resolvable(self, record: Record) -> Envelope:
        """The event that a RESOLVE is, where the sequencer gets to it."""
        return meaning_of(record).events[0]


def meaning_of(record: Record, header: Header | None = None, body: bytes | None = None) -> Frame:
    """A record of which one knows that it is a frame, for the reference."""
    header = decode_header(record.data) if header is None else header
    body = decode_body(record.data, header) if body is None else body
    columns = decode_columns(body, header.count)
    return Frame(
        record.arrival_ms,
        header.session,
        header.born_ms,
        header.first,
        tuple(columns.envelopes()),
        header.predecessor,
        header.id_window,
        record.data,
    )

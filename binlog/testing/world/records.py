"""Records as the proofs think of them: what they mean first, their bytes second.

A history is a list of these for one partition, in log order, the genesis record left out. The
reference reads the meaning; the code under test gets the bytes, made with the real codec.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from binlog.columns import columns_of, encode_body
from binlog.control import RESOLVE_TYPE, genesis_frame
from binlog.envelope import Envelope
from binlog.frame import Header, Predecessor, Session, encode_frame
from binlog.log import Record
from binlog.params import Params, encode_genesis, genesis_hash
from binlog.values import encode_value

START_MS = 1_000  # the arrival of the genesis record
EMPTY_KEY = encode_value({})


@dataclass(frozen=True)
class Frame:
    """Envelopes ``first``, ``first`` + 1, ... of one session."""

    arrival: int
    session: Session
    born: int
    first: int
    events: tuple[Envelope, ...]
    predecessor: Predecessor | None = None
    id_window: bool = False
    data: bytes = field(default=b"", repr=False, compare=False)

    @property
    def last(self) -> int:
        return self.first + len(self.events) - 1


@dataclass(frozen=True)
class Garbage:
    """A record in our partition that no reader can take for a frame of it; ``why`` is for people."""

    arrival: int
    why: str
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class Resolve:
    """A RESOLVE: the halt that it names, the decision, and whether every fact in it is true.

    ``target`` is the halting record's index in the history. ``honest`` is false if log, partition
    or digest are not those of the halt; position, rule, session and offset speak for themselves.
    """

    arrival: int
    session: Session
    born: int
    target: int
    rule: str
    halted: str | None  # the session that the halt names
    offset: int
    decision: str
    honest: bool = True
    data: bytes = field(default=b"", repr=False, compare=False)


Rec = Frame | Garbage | Resolve


@dataclass(frozen=True)
class Log:
    """The parameters that a history's bytes are made under."""

    params: Params
    partition: int = 0
    shard: str = "shardId-000000000007"
    sequence_base: int = 49_650_000_000_000_000_000_000_000_000_000_000_000_000_000_000_000_000_002

    @property
    def genesis(self) -> bytes:
        return encode_genesis(self.params)

    def header(self, frame: Frame | Resolve, first: int, count: int) -> Header:
        plain = isinstance(frame, Resolve)
        return Header(
            session=frame.session,
            born_ms=frame.born,
            partition=self.partition,
            first=first,
            count=count,
            log_id=bytes.fromhex(self.params.log_id),
            genesis_hash=genesis_hash(self.genesis),
            predecessor=None if isinstance(frame, Resolve) else frame.predecessor,
            id_window=False if isinstance(frame, Resolve) else frame.id_window,
            resolve=plain,
        )

    def encoded(self, frame: Frame) -> Frame:
        """The frame with its bytes."""
        body = encode_body(columns_of(frame.events))
        header = self.header(frame, frame.first, len(frame.events))
        return replace(frame, data=encode_frame(header, body))

    def encoded_resolve(self, resolve: Resolve, content: object) -> Resolve:
        """The RESOLVE with its bytes; ``content`` is the map that its envelope carries."""
        body = encode_body(columns_of([resolve_envelope(resolve, content)]))
        return replace(resolve, data=encode_frame(self.header(resolve, 1, 1), body))

    def sequence(self, index: int) -> int:
        """The sequence number of record ``index`` of a history: it grows, with holes."""
        return self.sequence_base + (index + 1) * 10**20

    def records(self, history: Sequence[Rec]) -> list[Record]:
        """The genesis record and the history, as a reader gets them."""
        opening = Record(
            self.sequence_base,
            START_MS,
            self.partition,
            genesis_frame(self.params, self.genesis, self.partition),
        )
        return [
            opening,
            *(
                Record(self.sequence(i), rec.arrival, self.partition, rec.data)
                for i, rec in enumerate(history)
            ),
        ]


def resolve_envelope(resolve: Resolve, content: object) -> Envelope:
    """The event that a RESOLVE is, where the sequencer gets to it."""
    name = f"{RESOLVE_TYPE}/{resolve.session.family.hex()}"
    return Envelope(name, RESOLVE_TYPE, 1, "", EMPTY_KEY, encode_value(content))

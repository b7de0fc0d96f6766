"""From queued events to the bytes of a frame: how many go into one.

A frame is closed at about `frame_bytes_goal` compressed bytes, reckoned by how well the last ones
compressed, and always within what the log has pinned: bytes, bytes when decompressed, events, and
kinds of event.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from binlog.columns import columns_of, encode_body
from binlog.envelope import Envelope
from binlog.errors import RefusedError, TooLargeError
from binlog.frame import Header, Predecessor, Session, encode_frame
from binlog.params import Params, genesis_hash
from binlog.producer.lane import Chunk, Lane
from binlog.producer.session import SessionState

_RATIO_FIRST = 0.5  # a frame's bytes to the reckoned bytes of its events, until one has shown it
_RATIO_WEIGHT = 0.2  # of the newest frame
_SLACK_BYTES = 4_096  # header, kinds, and what columns add


class Packed(NamedTuple):
    """A frame and what is in it."""

    chunks: list[Chunk]
    events: int
    data: bytes


class Packer:
    """Makes the frames of one producer on one log."""

    def __init__(
        self, params: Params, genesis: bytes, *, frame_bytes_goal: int, id_window: bool
    ) -> None:
        self._params = params
        self._log_id = bytes.fromhex(params.log_id)
        self._genesis_hash = genesis_hash(genesis)
        self._goal = frame_bytes_goal
        self._id_window = id_window
        self._ratio = _RATIO_FIRST
        self._body_bytes_max = min(params.frame_bytes_max, params.body_bytes_max) - _SLACK_BYTES

    @property
    def body_bytes_goal(self) -> int:
        """How many bytes of events make a full frame."""
        return min(int(self._goal / self._ratio), self._body_bytes_max)

    def pack(self, lane: Lane, session: SessionState, first: int) -> Packed:
        """Take the next events off a lane, at least one, as the frame that begins with ``first``."""
        bytes_goal, count_max = self.body_bytes_goal, self._params.frame_events_max
        predecessor = lane.predecessor(session.name) if first == 1 else None
        while True:
            chunks = lane.take(bytes_goal, count_max)
            if len(chunks) == 1:
                envelopes = chunks[0].envelopes
            else:
                envelopes = [envelope for chunk in chunks for envelope in chunk.envelopes]
            data = self._encode(envelopes, session, lane.partition, first, predecessor)
            if data is not None:
                ratio = len(data) / sum([chunk.size for chunk in chunks])
                self._ratio += (ratio - self._ratio) * _RATIO_WEIGHT
                return Packed(chunks, len(envelopes), data)
            # Too many kinds, or larger than reckoned: rare, so by halves. One alone always fits,
            # `check` has seen to it.
            lane.put_back(chunks)
            count_max = len(envelopes) // 2

    def check(self, envelopes: Sequence[Envelope], sizes: Sequence[int]) -> None:
        """That each event by itself fits a frame; ``sizes`` are upper bounds of theirs.

        Raises:
            TooLargeError: one does not; with its size and the limit.
        """
        if max(sizes) > self._body_bytes_max:
            for envelope in envelopes:
                self._check_one(envelope)

    def _check_one(self, envelope: Envelope) -> None:
        """Only the compressed bytes can tell."""
        body = encode_body(columns_of([envelope]))
        frame = encode_frame(self._header(Session(bytes(16), 1), 0, 0, 1, 1, None), body)
        for what, size, limit in (
            ("the event", len(body), self._params.body_bytes_max),
            ("the event's frame", len(frame), self._params.frame_bytes_max),
        ):
            if size > limit:
                raise TooLargeError(
                    f"{what} has {size} bytes, the limit is {limit}",
                    f"event {envelope.id}",
                    size=size,
                    limit=limit,
                )

    def _encode(
        self,
        envelopes: Sequence[Envelope],
        session: SessionState,
        partition: int,
        first: int,
        predecessor: Predecessor | None,
    ) -> bytes | None:
        """The frame, or ``None`` if it breaks a bound."""
        try:
            body = encode_body(columns_of(envelopes))
        except RefusedError:  # too many kinds
            return None
        header = self._header(
            session.name, session.born_ms, partition, first, len(envelopes), predecessor
        )
        data = encode_frame(header, body)
        if len(data) > self._params.frame_bytes_max or len(body) > self._params.body_bytes_max:
            return None
        return data

    def _header(
        self,
        session: Session,
        born_ms: int,
        partition: int,
        first: int,
        count: int,
        predecessor: Predecessor | None,
    ) -> Header:
        return Header(
            session=session,
            born_ms=born_ms,
            partition=partition,
            first=first,
            count=count,
            log_id=self._log_id,
            genesis_hash=self._genesis_hash,
            predecessor=predecessor,
            id_window=self._id_window,
        )

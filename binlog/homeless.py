"""Shards that hold no partition: whatever lies in them is foreign, and no checkpoint goes there.

A stream of more shards than partitions has them, and an on-demand stream splits by itself. Nothing
of ours is ever there, but another tool's records may be. They are read beside the others, from the
shard's beginning whenever a reader is made: what was kept before is kept once, and only what left
the stream before any reader came is gone.

Each such shard has a home partition as well, so that of several readers one looks there.
"""

from __future__ import annotations

from collections.abc import Collection
from hashlib import sha256

from binlog.errors import TrimmedError
from binlog.foreign import Foreign, foreign_of
from binlog.horizon import Bounds, Horizon
from binlog.lineage import Lineage
from binlog.log import Log, Position
from binlog.logger import get_logger

_logger = get_logger(__name__)


def home_of_shard(shard: str, partitions: int) -> int:
    """The partition whose readers look into a shard that holds none."""
    return int.from_bytes(sha256(shard.encode()).digest()[:8], "big") % partitions


class HomelessShards:
    """Reads them for the homes in ``partitions``.

    ``lineage`` is the reader's own. With a ``horizon`` they are read to there, and no further.
    """

    def __init__(
        self,
        log: Log,
        lineage: Lineage,
        partitions: Collection[int],
        *,
        page_bytes: int,
        horizon: Horizon | None = None,
    ) -> None:
        self._bounds = Bounds(horizon)
        self._reached: set[str] = set()  # read to it
        self._log = log
        self._lineage = lineage
        self._partitions = frozenset(partitions)
        self._page_bytes = page_bytes
        self._places: dict[str, Position] = {}
        self._over: set[str] = set()  # read to their end, or forgotten by the stream
        self._turn: list[str] = []  # still to be looked into before this round is over
        self._is_first_round = True

    def read(self) -> list[Foreign]:
        """The next records of one of them; none, if a look found none.

        The first look goes through all of them. Later ones, at a log's end, into one shard each,
        since every one of them costs a call to the service.
        """
        self._turn = self._turn or self._open()
        while self._turn:
            found, at_end = self._read_page(self._turn[-1])
            if at_end:
                self._turn.pop()
            if found or (at_end and not self._is_first_round):
                return found
        self._is_first_round = False
        return []

    def extend(self, horizon: Horizon) -> None:
        """Read on, to that one."""
        self._bounds = Bounds(horizon)
        self._reached.clear()

    def _open(self) -> list[str]:
        count = self._log.params.partitions
        return [
            shard.id
            for shard in self._lineage.shards.values()
            if not shard.partitions
            and shard.id not in self._over
            and shard.id not in self._reached
            and home_of_shard(shard.id, count) in self._partitions
        ]

    def _read_page(self, shard: str) -> tuple[list[Foreign], bool]:
        after = self._places.setdefault(shard, Position(shard, -1))
        try:
            page = self._log.read(after, bytes_max=self._page_bytes)
        except TrimmedError as error:
            _logger.warning("foreign.forgotten", shard=shard, reason=str(error))
            self._over.add(shard)
            return [], True
        page, is_over = self._bounds.cut(after, page)
        if is_over:
            self._reached.add(shard)
        self._places[shard] = page.next
        if page.caught_up and page.closed:
            self._over.add(shard)
            self._lineage.refresh()  # its children may hold none either
        return [foreign_of(shard, record) for record in page.records], page.caught_up

"""One page out of several chains: their records of one shard, by sequence number."""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter

from binlog.archive.chain_view import WHOLE, Stretch
from binlog.archive.cursors import Cursor
from binlog.errors import DamageError, MismatchError, UpgradeError
from binlog.log import Page, Position, Record

_LOOK_AHEAD = 8  # cursors whose blocks may be on their way while another one is waited for
_by_sequence = attrgetter("sequence")


class Merge:
    """Gathers the page after a place; ``cursors`` are those of the partitions asked for."""

    def __init__(self, after: Position, cursors: Mapping[int, Cursor]) -> None:
        self._shard = after.shard
        self._after = self._at = after.sequence
        self._cursors = cursors
        self._records: list[Record] = []
        self._bytes = 0
        self._stretches: list[Stretch] = []
        self._through: dict[int, float] = {}  # of each chain, up to where its records are at hand
        self._final: set[int] = set()  # chains that are known to go no further than that, for now

    def page(self, bytes_max: int, *, is_whole: bool = False) -> Page:
        """About ``bytes_max``, and at least one record if there is any.

        It is complete for all partitions but `Page.ends`; ``is_whole``: for all of them, and so ends
        with the first chain that does.

        Raises:
            DamageError, StorageError, RefusedError: as `Cursor.stand`.
        """
        while True:
            try:
                self._look()
            except (DamageError, MismatchError, UpgradeError):
                if not self._records:
                    raise
                return self._page()  # what lies before is given first
            going = [self._through[p] for p in self._through if p not in self._final]
            if is_whole:
                bound = min(self._through.values())
            else:
                bound = min(going) if going else max(self._through.values())
            if not self._take(bound, bytes_max):
                return self._page()
            if bound == WHOLE:
                return self._page(caught_up=True, closed=True)
            if is_whole and any(self._through[p] == bound for p in self._final):
                return self._page()
            if not going:
                return self._page(caught_up=True)
            if self._bytes >= bytes_max:
                return self._page()

    def _look(self) -> None:
        """Have the block that goes on, in each chain that does."""
        place = Position(self._shard, self._at)
        ranks = {p: cursor.view.rank(place) for p, cursor in self._cursors.items()}
        # Those that have to read: the first of them while the next ones are on their way.
        waiting = [
            (self._cursors[p], rank)
            for p, rank in ranks.items()
            if rank is not None and not self._cursors[p].covers(rank)
        ]
        stretches: list[Stretch] = []
        through: dict[int, float] = {}
        final: set[int] = set()
        for partition, rank in ranks.items():
            cursor = self._cursors[partition]
            if waiting and waiting[0][0] is cursor:
                for other, behind in waiting[:_LOOK_AHEAD]:
                    other.expect(behind)
                waiting = waiting[1:]
            block = None if rank is None else cursor.stand(rank)
            if block is not None and rank is not None:
                through[partition] = block.high[1] if block.high[0] == rank[0] else WHOLE
                if self._shard in block.stretches:
                    stretches.append(block.stretches[self._shard])
                continue
            if cursor.view.trouble is not None:
                raise cursor.view.trouble
            reached = cursor.view.reaches(self._shard)
            through[partition] = max(self._after, -1 if reached is None else reached)
            if reached != WHOLE:
                final.add(partition)
        self._stretches, self._through, self._final = stretches, through, final

    def _take(self, bound: float, bytes_max: int) -> bool:
        """Take the records up to there; whether all of them had room."""
        found: list[Record] = []
        for stretch in self._stretches:
            found += stretch.between(self._at, bound)
        if len(self._stretches) > 1:
            found.sort(key=_by_sequence)
        for record in found:
            size = len(record.data)
            if self._records and self._bytes + size > bytes_max:
                return False
            self._records.append(record)
            self._bytes += size
            self._at = record.sequence
        if bound != WHOLE:
            self._at = max(self._at, int(bound))
        return True

    def _page(self, *, caught_up: bool = False, closed: bool = False) -> Page:
        ends = {p: int(self._through[p]) for p in self._final}
        if closed:
            self._at = max([self._at, *ends.values()])
        else:
            # At the end of all of them each is told: where one ends, another may go on in a child.
            ends = {p: end for p, end in ends.items() if end < self._at or caught_up}
        return Page(self._records, Position(self._shard, self._at), caught_up, closed, ends)

"""Where the events of a log are, by id: filled in ones by number, without an object each."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence

from binlog.drills.filling import Fill
from binlog.envelope import CONTROL_PREFIX
from binlog.horizon import horizon_of
from binlog.log import Log
from binlog.reader import Reader

Place = tuple[int, int]
TWICE_MAX = 100


class Places(Mapping[str, Place]):
    """Partition and offset of each event of a log, of the first where there are several."""

    def __init__(self, fills: Sequence[Fill]) -> None:
        self.again = 0  # how often one was met again
        self.twice: list[str] = []
        """The first ids that were met again, at most `TWICE_MAX`."""
        self._others: dict[str, Place] = {}
        self._fills = {fill.name: (fill, *_room(len(fill))) for fill in fills}

    def add(self, event_id: str, partition: int, offset: int) -> None:
        """One that was met."""
        fill, partitions, offsets = self._fills.get(event_id.rpartition(".")[0], _NONE)
        if fill is not None and (index := fill.index_of(event_id)) is not None:
            if not offsets[index]:
                partitions[index], offsets[index] = partition, offset
                return
        elif event_id not in self._others:
            self._others[event_id] = partition, offset
            return
        self.again += 1
        if len(self.twice) < TWICE_MAX:
            self.twice.append(event_id)

    def __getitem__(self, event_id: str) -> Place:
        fill, partitions, offsets = self._fills.get(event_id.rpartition(".")[0], _NONE)
        if fill is None or (index := fill.index_of(event_id)) is None:
            return self._others[event_id]
        if not offsets[index]:
            raise KeyError(event_id)
        return partitions[index], offsets[index]

    def __iter__(self) -> Iterator[str]:
        for name, (_, _, offsets) in self._fills.items():
            yield from (f"{name}.{index}" for index, offset in enumerate(offsets) if offset)
        yield from self._others

    def __len__(self) -> int:
        filled = sum(len(offsets) - offsets.count(0) for _, _, offsets in self._fills.values())
        return len(self._others) + filled


_Room = tuple["array[int]", "array[int]"]
_NONE: tuple[None, array[int], array[int]] = (None, array("i"), array("Q"))


def _room(count: int) -> _Room:
    partitions, offsets = array("i"), array("Q")
    partitions.frombytes(bytes(count * partitions.itemsize))
    offsets.frombytes(bytes(count * offsets.itemsize))  # 0 is none: offsets begin at 1
    return partitions, offsets


def places_of(log: Log, fills: Sequence[Fill] = ()) -> Places:
    """Of all events of a log, from its beginning to its end."""
    found = Places(fills)
    reader = Reader(log, horizon=horizon_of(log))
    while (runs := reader.read(wait_s=0.0)) is not None:
        for run in runs:
            columns = run.columns
            control = {
                number
                for number, (kind, *_) in enumerate(columns.kinds)
                if kind.startswith(CONTROL_PREFIX)
            }
            pairs = zip(columns.index, columns.ids, strict=True)
            for offset, (kind_number, event_id) in enumerate(pairs, run.first_offset):
                if kind_number not in control:
                    found.add(event_id, run.partition, offset)
    return found

"""The search for the RESOLVE that lifts a halt (S3).

From the halted record on, along the partition's shard lineage, without a bound on distance: the
first RESOLVE counts that names the halt exactly and is not expired where it stands, by the running
mark over every record of the partition, undecodable ones too. Every reader that finds the same
halt therefore takes the same decision, whenever it gets there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from msgspec.structs import replace

from binlog.columns import FrameError
from binlog.control import decode_resolution
from binlog.errors import UpgradeError
from binlog.frame import check_header, decode_header
from binlog.halt import Halt, Resolution
from binlog.lineage import Searched, records_after
from binlog.log import Log, Position, Record
from binlog.params import Params, genesis_hash


def find_resolution(
    halt: Halt, records: Iterable[Record], params: Params, genesis: bytes
) -> Resolution | None:
    """The RESOLVE that counts among ``records``, which begin at the halted one.

    ``params`` are those in force at the halted record.
    """
    found = find_counting(halt, (("", record) for record in records), params, genesis)
    return None if found is None else found[1]


def find_counting(
    halt: Halt,
    records: Iterable[tuple[str, Record]],
    params: Params,
    genesis: bytes,
    *,
    fits: Callable[[Resolution], bool] | None = None,
) -> tuple[Position, Resolution] | None:
    """As `find_resolution` over records with their shards; gives its position, too.

    ``fits``: whether one lifts the halt, where that is not for `Resolution.fits` to say.
    """
    fits = fits or (lambda resolution: resolution.fits(halt))
    mark = halt.mark
    hashed = genesis_hash(genesis)
    log_id = bytes.fromhex(halt.log_id)
    for shard, record in records:
        mark = max(mark, record.arrival_ms)
        try:
            header = decode_header(record.data, version_allowed=params.frame_version)
            check_header(header, params, log_id, hashed, halt.partition)
        except (FrameError, UpgradeError):
            continue
        if not header.resolve or header.born_ms + params.session_life_ms < mark:
            continue
        if header.born_ms > record.arrival_ms + params.born_tolerance_ms:
            continue  # no frame where it stands: the sequencer takes it for undecodable
        resolution = decode_resolution(record.data, header)
        if resolution is not None and fits(resolution):
            return Position(shard, record.sequence), resolution
    return None


def find_in_log(
    log: Log,
    halt: Halt,
    params: Params,
    searched: Searched,
    *,
    first: Sequence[tuple[str, Record]] = (),
    fits: Callable[[Resolution], bool] | None = None,
) -> Resolution | None:
    """The one that counts in the log, behind the halted record, or in ``first``, that record itself.

    It begins where the last search for it ended, as ``searched`` says: what was found to hold none
    never will, and who is handed a halted record again and again does not read a day of the log each
    time.
    """
    begin, mark = searched.get(halt, (halt.position, halt.mark))
    chosen = fits or (lambda resolution: resolution.fits(halt))

    def note(place: Position) -> None:
        searched[halt] = place, mark
        searched.check()

    def records() -> Iterator[tuple[str, Record]]:
        nonlocal mark
        yield from () if halt in searched else first
        for shard, record in records_after(log, begin, halt.partition, read_to=note):
            mark = max(mark, record.arrival_ms)
            yield shard, record

    found = find_counting(replace(halt, mark=mark), records(), params, log.genesis, fits=chosen)
    return None if found is None else found[1]

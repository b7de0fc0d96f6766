"""The search for the RESOLVE that lifts a halt (S3).

From the halted record on, along the partition's shard lineage, without a bound on distance: the
first RESOLVE counts that names the halt exactly and is not expired where it stands, by the running
mark over every record of the partition, undecodable ones too. Every reader that finds the same
halt therefore takes the same decision, whenever it gets there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from binlog.columns import FrameError
from binlog.control import decode_resolution
from binlog.errors import UpgradeError
from binlog.frame import check_header, decode_header
from binlog.halt import Halt, Resolution
from binlog.log import Position, Record
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

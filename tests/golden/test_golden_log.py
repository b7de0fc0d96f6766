"""A directory log as the first version wrote it is read for ever.

`log-1.json` holds the bytes of its files, in hex: two segments, a note, a torn tail after them. It
is only ever read: what another version writes gets a file of its own beside it.
"""

from __future__ import annotations

import json
from pathlib import Path

from binlog.clock import ManualClock
from binlog.frame import decode_header
from binlog.logs import DirectoryLog, check_directory_log
from tests.contracts.log_contract import appended, read_all
from tests.log.log_frames import put

FILES = json.loads((Path(__file__).parent / "log-1.json").read_bytes())
# (sequence, arrival, partition, session, first number, events) of each record.
RECORDS = [
    (60, 1700000000000, 0, "0.0", 0, 0),
    (68, 1700000000000, 1, "0.0", 0, 0),
    (76, 1700000000000, 2, "0.0", 0, 0),
    (84, 1700000000000, 3, "0.0", 0, 0),
    (2088, 1700000000010, 0, "1.1", 1, 1),
    (2096, 1700000000010, 3, "1.1", 1, 2),
    (2527, 1700000000020, 0, "1.1", 2, 1),
    (2770, 1700000000030, 1, "2.1", 2, 3),
]


def test_a_log_of_format_1_is_read_and_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.mkdir()
    for name, content in FILES.items():
        (path / name).write_bytes(bytes.fromhex(content))
    assert [f.rule for f in check_directory_log(path)] == ["torn-tail"]
    with DirectoryLog(path, clock=ManualClock()) as log:
        found = [
            (
                record.sequence,
                record.arrival_ms,
                record.partition,
                str(decode_header(record.data).session)[-3:],
                decode_header(record.data).first,
                decode_header(record.data).count,
            )
            for record in read_all(log)
        ]
        assert found == RECORDS
        [reply] = appended(log.append([put(1, session=9)]))
        assert read_all(log)[-1].sequence == reply.position.sequence > RECORDS[-1][0]
    assert [f.rule for f in check_directory_log(path)] == ["aside"]

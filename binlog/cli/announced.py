"""A log with its archive: the one that is named, or the one that the log itself has named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from binlog.cli.output import note

if TYPE_CHECKING:
    from appliers.store import Store
    from binlog.log import Log

_PARTITION = 0  # an announcement is written into all of them


def open_with_archive(log: str, archive: str | None, store: Store | None = None) -> Log:
    """`open_log`; without an archive given, with the one that the checkpoints of ``store`` know of.

    That one is only for what the stream has forgotten, and may be gone: then it is done without.

    Raises:
        As `binlog.address.open_log`.
    """
    from binlog.address import open_log, parse_address
    from binlog.errors import BinlogError

    if archive is None and store is not None and parse_address(log).scheme == "kinesis":
        found = announced_in(store)
        if found:
            try:
                opened = open_log(log, found, archive_first=False)
            except BinlogError as error:
                note(f"binlog: the archive that the log names is left out: {error}")
            else:
                note(
                    f"binlog: what the stream has forgotten is read from {found}, which the log names"
                )
                return opened
    return open_log(log, archive)


def announced_in(store: Store) -> str | None:
    """The archive that the last PARAMS record named which a store's consumer has come by."""
    from binlog.pinned import ARCHIVE
    from binlog.sequencer_state import SequencerState

    found: list[tuple[int, str]] = []
    with store.view() as view:
        for generation in view.generations():
            row = view.checkpoints(generation.id, [_PARTITION]).get(_PARTITION)
            state = None if row is None else SequencerState.decode(row.state)
            if state is not None and isinstance(url := state.changes.get(ARCHIVE), str):
                found.append((state.mark, url))
    return max(found)[1] if found else None

"""A log with its archive: the one that is named, or the one that the log itself has named."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from binlog.cli.output import note

if TYPE_CHECKING:
    from appliers.store import Store
    from binlog.log import Log

_PARTITION = 0  # an announcement is written into all of them


def open_with_archive(
    log: str, archive: str | None, store: Callable[[], Store] | None = None
) -> Log:
    """`open_log`; without an archive given, with the one that the log names (`binlog.archive.named_log`).

    That is what its stream says, or else the record that ``store``'s consumer has come by.

    Raises:
        As `binlog.address.open_log`.
    """
    from binlog.address import Named, open_log

    otherwise = None if store is None else (lambda: announced_in(store()))
    named = Named(from_beginning=True, tell=_tell, otherwise=otherwise)
    return open_log(log, archive, named=named)


def _tell(found: str) -> None:
    note(f"binlog: what the stream has forgotten is read from {found}, which the log names")


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

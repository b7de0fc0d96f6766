"""Where a drill takes place: addresses by name, and how to open them in this process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from appliers.store import Store
from binlog.drills.action import Item
from binlog.drills.harm import Parts
from binlog.log import Log

STORES = ("live", "lazy", "aside", "other")


class Target(Protocol):
    """A place with a log, stores, an archive and snapshots, all of the drill's own.

    Commands run in ``folder``, by ``environment``, on the addresses as `addresses` has them; this
    process opens the same by name. Nothing is there before it is made, but for what services need.
    """

    name: str
    folder: Path
    rate: float  # events a second of a load, where a drill does not say
    every_s: float  # a load's producers append what is due so often
    tells_applied: bool  # a store's checkpoints move with its items, and not some time later
    wait_s: float  # for a consumer, or whatever else a drill waits for
    twin_wait_s: float  # after a sabotage, which may be that it never comes
    init_more: str  # what ``binlog init`` is given there, besides

    @property
    def addresses(self) -> Mapping[str, str]:
        """``log``, ``archive``, ``snapshots``, and stores: ``live``, ``lazy``, ``aside``, ``other``."""

    @property
    def environment(self) -> Mapping[str, str]:
        """Of commands."""

    def typed(self, command: str) -> str:
        """A command of a drill, names in braces and all, as an operator types it there."""

    def open_log(self, name: str = "log", *, clock_s: float = 0.0) -> Log:
        """The caller closes it. ``clock_s``: how far this client's clock is ahead."""

    def open_store(self, name: str) -> Store:
        """The caller closes it.

        Raises:
            BinlogError: it is not there.
        """

    def rows(self, name: str, table: str) -> Iterator[tuple[str, Item]]:
        """What readers of a store see of a table, by id, also while it is written to.

        As an application reads it, not by the project's code for stores.

        Raises:
            BinlogError: the store is not there.
        """

    def items(self, name: str, table: str) -> dict[str, Item]:
        """All of `rows`."""

    def path(self, name: str) -> Path:
        """Of what stands at an address, where that is a file or folder of this machine.

        Raises:
            RefusedError: it is not.
        """

    def fingerprint(self, name: str) -> str:
        """Of what stands at an address, bytes and all; another one if anything changed."""

    def parts(self, name: str) -> Parts | None:
        """Of what stands there, to tell what is done to it from what moves on; ``None``: of nothing."""

    def stored(self, name: str) -> bytes:
        """Every byte that stands in a store, whatever its form."""

    def drop_table(self, name: str, table: str) -> None:
        """Of a store, as somebody would who knows nothing of this project."""

    def drop_checkpoints(self, name: str) -> None:
        """Likewise, of a store's checkpoints with the table that they are in."""

    def corrupt(self, name: str, table: str, count: int) -> list[str]:
        """Change ``count`` items of a store behind its back; which keys."""

    def versions(self) -> dict[str, str]:
        """Of what it runs on, beside our own."""

    def close(self) -> list[str]:
        """End and remove all of it; what is left, an address each."""

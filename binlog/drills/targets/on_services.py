"""What a drill sees of its stores where they are tables in DynamoDB, whoever's those are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any

from appliers.address import open_store
from appliers.store import Store
from binlog.address import parse_address
from binlog.drills.action import Item
from binlog.drills.harm import Parts, parts_of_tables
from binlog.drills.target import STORES
from binlog.drills.targets.live_dynamodb import CONTROL, read_live, stored_bytes


class OnServices:
    """See `binlog.drills.target.Target`: the half that follows from tables and how they are read."""

    _addresses: dict[str, str]

    @property
    def addresses(self) -> Mapping[str, str]:
        return self._addresses

    def open_store(self, name: str) -> Store:
        return open_store(self._addresses[name], must_exist=True)

    def rows(self, name: str, table: str) -> Iterator[tuple[str, Item]]:
        self.open_store(name).close()  # whether it is there is the project's to say
        return iter(self.items(name, table).items())

    def items(self, name: str, table: str) -> dict[str, Item]:
        return read_live(self._client(), parse_address(self._addresses[name]).path, table)

    def fingerprint(self, name: str) -> str:
        total = sha256()
        for part in self._parts(name):
            total.update(f"{part}\n".encode())
        return total.hexdigest()

    def parts(self, name: str) -> Parts | None:
        if name not in STORES:
            return None
        return parts_of_tables(((t, self._scan(t)) for t in self._tables(name)), CONTROL)

    def stored(self, name: str) -> bytes:
        return b"".join(stored_bytes(item) for t in self._tables(name) for item in self._scan(t))

    def drop_checkpoints(self, name: str) -> None:
        self.drop_table(name, CONTROL)

    # -- whose they are --------------------------------------------------------------------------

    def drop_table(self, name: str, table: str) -> None:
        raise NotImplementedError

    def _client(self) -> Any:
        """Of DynamoDB."""
        raise NotImplementedError

    def _tables(self, name: str) -> list[str]:
        """A store's, by their physical names."""
        raise NotImplementedError

    def _scan(self, table: str) -> Iterator[dict[str, Any]]:
        raise NotImplementedError

    def _parts(self, name: str) -> Iterator[str]:
        """All that stands at an address, piece by piece."""
        raise NotImplementedError

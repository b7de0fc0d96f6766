"""The contract of stores for foreign records, on those that need no service: quick, and by itself."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

from appliers.store import Store
from appliers.stores import MemoryStore, SQLiteStore
from tests.contracts.foreign_contract import CLAIMS


def check(make: Callable[[], Callable[[], Store]]) -> None:
    """Every claim, each on a store of its own."""
    assert CLAIMS
    for claim in CLAIMS:
        with ExitStack() as stack:
            open_ = make()
            claim(lambda open_=open_, stack=stack: stack.enter_context(closing(open_())))  # type: ignore[misc]


def test_memory_keeps_them() -> None:
    check(lambda: MemoryStore().open)


def test_sqlite_keeps_them(tmp_path: Path) -> None:
    paths = iter(tmp_path / f"{number}.db" for number in range(len(CLAIMS)))

    def make() -> Callable[[], Store]:
        path = next(paths)
        return lambda: SQLiteStore(path)

    check(make)

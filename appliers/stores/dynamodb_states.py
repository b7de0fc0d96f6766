"""Sequencer states in checkpoint rows, and their bases in rows of their own (C5)."""

from __future__ import annotations

from collections.abc import Callable

from appliers.state_base import Base, Packed, named_by, orphans, pack, unpack
from appliers.stores.dynamodb_catalog import ROW_BYTES_MAX
from appliers.stores.dynamodb_items import Attributes
from appliers.stores.dynamodb_rows import Rows

_BASES_KEPT = 4_096  # of a handle: one a partition and generation


class States:
    """The bases of one store's states, as this handle knows them. Any thread may use it."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._named: dict[tuple[str, int], Base | None] = {}

    def whole(self, generation: str, partition: int, row: bytes) -> bytes:
        """The state that a checkpoint row stands for.

        Raises:
            LostError: its base is gone: the row has been replaced since it was read.
            DamageError: it is not what was written. UpgradeError: of a newer format.
        """
        known = self._named.get((generation, partition))
        state, base = unpack(row, lambda name: self._read(generation, name), known=known)
        self._note(generation, partition, base)
        return state

    def pack(self, generation: str, partition: int, state: bytes, before: bytes | None) -> Packed:
        """What to write for ``state`` in the place of the row ``before``; its base is durable."""
        place = generation, partition
        named = None if before is None else named_by(before)
        base = self._named.get(place)
        if named is not None and (base is None or base.id != named):
            self.whole(generation, partition, before or b"")
            base = self._named[place]
        packed = pack(state, base if named is not None else None)
        if packed.base is not None:
            self._save(generation, packed.base)
        return packed

    def won(self, generation: str, partition: int, packed: Packed) -> None:
        """The row of ``packed`` stands: what it replaced goes."""
        self._note(generation, partition, packed.named)
        if packed.replaced is not None:
            self._delete(generation, packed.replaced)

    def sweep(self, generation: str, fence: Callable[[], set[str] | None], now_ms: int) -> None:
        """Delete what crashes left: old bases that no row names, nor ever will.

        ``fence`` puts up the fence of `appliers.state_steps` in all rows of the generation, and
        gives the bases that they name; ``None`` where it cannot be put up.
        """
        made = {
            item["sk"]["S"].partition("#")[0]: int(item["made"]["N"]) / 1000
            for item in self._rows.query(_pk(generation))
        }
        old = orphans(made.items(), (), now_ms / 1000)
        named = fence() if old else None
        if named is not None:
            for name in old:
                if name not in named:
                    self._delete(generation, name)

    def _note(self, generation: str, partition: int, base: Base | None) -> None:
        if len(self._named) >= _BASES_KEPT:
            self._named.clear()
        self._named[generation, partition] = base

    def _save(self, generation: str, base: Base) -> None:
        chunks = [base.data[n : n + ROW_BYTES_MAX] for n in range(0, len(base.data), ROW_BYTES_MAX)]
        for number, chunk in enumerate(chunks):
            self._rows.put_new(
                {
                    "pk": _pk(generation),
                    "sk": {"S": f"{base.id}#{number:05d}"},
                    "made": {"N": str(self._rows.calls.now_ms())},
                    "chunks": {"N": str(len(chunks))},
                    "data": {"B": chunk},
                }
            )

    def _read(self, generation: str, name: str) -> bytes | None:
        chunks: list[bytes] = []
        while True:
            item = self._rows.get({"pk": _pk(generation), "sk": {"S": f"{name}#{len(chunks):05d}"}})
            if item is None:
                return None
            chunks.append(bytes(item["data"]["B"]))
            if len(chunks) == int(item["chunks"]["N"]):
                return b"".join(chunks)

    def _delete(self, generation: str, name: str) -> None:
        first = {"pk": _pk(generation), "sk": {"S": f"{name}#00000"}}
        item = self._rows.get(first)
        if item is not None:
            # The first one last: whoever dies here leaves what is found again.
            for number in reversed(range(int(item["chunks"]["N"]))):
                self._rows.delete([first | {"sk": {"S": f"{name}#{number:05d}"}}])


def _pk(generation: str) -> Attributes:
    return {"S": f"base#{generation}"}

"""Sequencer states in checkpoint rows, and their bases in rows of their own (C5)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from appliers.state_base import Base, Packed, named_by, pack, unpack
from appliers.state_steps import (
    DeleteBase,
    Fence,
    PutBase,
    Step,
    Sweep,
    recall,
    sweeping,
    take,
    writing,
)
from appliers.stores.dynamodb_catalog import ROW_BYTES_MAX, Standing, checkpoint_key, standing_of
from appliers.stores.dynamodb_items import Attributes
from appliers.stores.dynamodb_rows import Rows
from appliers.stores.generations import lost_generation
from binlog.errors import BinlogError
from binlog.logger import get_logger

_BASES_KEPT = 4_096  # of a handle: one a partition and generation

_logger = get_logger(__name__)


class States:
    """The bases of one store's states, as this handle knows them. Any thread may use it.

    In which order what is written, read and deleted says `appliers.state_steps`.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._named: dict[tuple[str, int], Base | None] = {}

    def whole(self, generation: str, standing: Standing) -> tuple[Standing, bytes]:
        """A row as it was read, or as it is by now if its base is gone, and the state it stands for.

        Raises:
            DamageError: it is not what was written, or its base was deleted. UpgradeError: of a
                newer format.
            LostError: the generation is gone, or others replace the row all the time.
        """
        name, partition = self._rows.calls.name, standing.checkpoint.partition
        first: list[Standing] = [standing]

        def read() -> Standing | None:
            if first:
                return first.pop()
            item = self._rows.get(checkpoint_key(generation, partition))
            return None if item is None else standing_of(item, generation, name)

        found, state, base = recall(
            read,
            lambda each: None if each is None else each.checkpoint.state,
            lambda base_id: self._read(generation, base_id),
            known=self._named.get((generation, partition)),
            where=name,
        )
        if found is None or state is None:
            raise lost_generation(name, generation)
        self._note(generation, partition, base)
        return found, state

    def pack(self, generation: str, partition: int, state: bytes, before: bytes | None) -> Packed:
        """What to `write` for ``state`` in the place of the row ``before``.

        Raises:
            LostError: the base of ``before`` is gone: the row has been replaced since it was read.
        """
        named = None if before is None else named_by(before)
        if before is None or named is None:
            return pack(state, None)
        base = self._named.get((generation, partition))
        if base is None or base.id != named:
            _, base = unpack(before, lambda name: self._read(generation, name))
        return pack(state, base)

    def write(
        self, generation: str, partition: int, packed: Packed, put_row: Callable[[bytes], bool]
    ) -> bool:
        """Write what was packed. ``put_row`` writes a row on its condition, and says if it won."""

        def do(step: Step) -> bool | None:
            if isinstance(step, PutBase):
                self._save(generation, step.base)
                return True
            if isinstance(step, DeleteBase):
                self._try_to_delete(generation, step.id)
                return None
            won = put_row(step.row)
            if won:
                self._note(generation, partition, packed.named)
            return won

        return take(writing(packed), do) is True

    def sweep(
        self, generation: str, fence: Callable[[], Iterable[bytes] | None], now_ms: int
    ) -> None:
        """Delete what crashes left. ``fence`` does what `appliers.state_steps.Fence` says."""
        made = {
            item["sk"]["S"].partition("#")[0]: int(item["made"]["N"]) / 1000
            for item in self._rows.query(_pk(generation))
        }

        def do(step: Sweep) -> Iterable[bytes] | None:
            if isinstance(step, Fence):
                return fence()
            self._delete(generation, step.id)
            return None

        take(sweeping(made.items(), now_ms / 1000), do)

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

    def _try_to_delete(self, generation: str, name: str) -> None:
        try:
            self._delete(generation, name)
        except BinlogError as error:  # the row has won; this goes with the orphans
            _logger.warning("base.left", store=self._rows.calls.name, base=name, why=str(error))

    def _delete(self, generation: str, name: str) -> None:
        first = {"pk": _pk(generation), "sk": {"S": f"{name}#00000"}}
        item = self._rows.get(first)
        if item is not None:
            # The first one last: whoever dies here leaves what is found again.
            for number in reversed(range(int(item["chunks"]["N"]))):
                self._rows.delete([first | {"sk": {"S": f"{name}#{number:05d}"}}])


def _pk(generation: str) -> Attributes:
    return {"S": f"base#{generation}"}

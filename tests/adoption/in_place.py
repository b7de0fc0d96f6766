"""A full DynamoDB table on a double, a log, and a store that takes the table over in place."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

from appliers.stores.dynamodb import DynamoDBStore
from appliers.stores.dynamodb_items import attributes_of
from appliers.stores.dynamodb_physical import PhysicalTable
from appliers.stores.dynamodb_tables_spec import Declared, Specification
from binlog.adoption import Adoption
from binlog.log import Log
from binlog.objects.memory import MemoryObjects
from snapshots.adopt import Adopted, Adopting
from snapshots.adopt_base import KeptBases, Stray, most_of
from snapshots.adopt_sources import TableSource
from tests.adoption.adoption_world import adopting_by, new_log
from tests.stores.dynamodb_double import DynamoDBDouble

PHYSICAL = "Users-2023"
SPECIFICATION = Specification(
    "shop", path="shop.toml", declared={"users": Declared(physical=PHYSICAL, owned=True)}
)


class Place:
    """A full table on a double, a log, and a store that is to take it over."""

    def __init__(
        self, folder: Path, content: dict[str, dict[str, Any]], log: Log | None = None
    ) -> None:
        self.folder = folder
        self.log: Log = new_log(folder / "log") if log is None else log
        self.content = content
        self.double = DynamoDBDouble()
        self.objects = MemoryObjects()
        self.double.create_table(
            TableName=PHYSICAL,
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
        )
        for each in content.values():
            self.write(each)

    def write(self, each: dict[str, Any]) -> None:
        """As an application that knows of no log."""
        self.double.put(PHYSICAL, attributes_of(each))

    def remove(self, name: str) -> None:
        self.double.wipe(PHYSICAL, {"id": {"S": name}})

    def physical(self) -> PhysicalTable:
        return PhysicalTable(
            PHYSICAL,
            self.double.connect,
            where=f"dynamodb://{PHYSICAL}",
            clock=self.double.clock,
            pause=self.double.pause,
            random=Random(1),
        )

    def store(self, specification: Specification = SPECIFICATION) -> DynamoDBStore:
        return DynamoDBStore(
            specification,
            connect=self.double.connect,
            clock=self.double.clock,
            pause=self.double.pause,
            random=Random(1),
            width=1,
            landing_s=0.0,
        )

    def source(self) -> TableSource:
        table = self.physical()
        return TableSource(table, table.describe(), rate=None)

    def adopting(self) -> Adopting:
        return adopting_by(self.log, self.objects, self.source())

    def adopt(self) -> Adopted:
        return self.adopting().run(self.source())

    def strays(self) -> tuple[Adoption, list[Stray]]:
        """What `binlog adopt --check` lists."""
        adopting = self.adopting()
        adoption = adopting.standing()
        assert adoption is not None
        return adoption, list(adopting.strays(adopting.base_of(adoption), touched=True))

    def take_over(self, adopted: Adopted) -> DynamoDBStore:
        adoption = adopted.at.adoption
        with closing(self.store()) as store:
            store.bind(self.log.genesis)
            store.adopt(
                adopted.at,
                PHYSICAL,
                most_of(self.bases.open(adoption), 4),
                lambda p: self.bases.rows(adoption, p),
                timeline=0,
            )
        return self.store()

    @property
    def bases(self) -> KeptBases:
        return KeptBases(self.log.genesis, self.objects)

    def stored(self) -> dict[str, dict[str, Any]]:
        return {each["id"]["S"]: each for each in self.double.items(PHYSICAL)}

"""A zoo of the types that people publish, for the tests of the strategies."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import uuid
from decimal import Decimal
from typing import (
    Annotated,
    Any,
    Final,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    TypedDict,
    TypeVar,
)

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

T = TypeVar("T")
OrderId = NewType("OrderId", str)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Right(enum.Flag):
    READ = 1
    WRITE = 2


class Line(Struct, rename="camel"):
    sku_code: Annotated[str, Meta(min_length=1, max_length=20)]
    unit_price: Decimal
    count: Annotated[int, Meta(ge=1, le=99)] = 1


class Placed(Struct, tag="OrderPlaced"):
    lines: list[Line]
    total: Decimal
    note: str | None = None
    colour: Colour = Colour.RED
    labels: frozenset[str] = frozenset()


class Bounds(Struct, forbid_unknown_fields=True):
    above: Annotated[int, Meta(gt=5)]
    below: Annotated[int, Meta(lt=-5)]
    between: Annotated[int, Meta(gt=-3, le=3)]
    dozens: Annotated[int, Meta(ge=-30, multiple_of=12)]
    one: Annotated[int, Meta(ge=7, le=7)]
    wide: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
    code: Annotated[str, Meta(pattern="^[A-Z]{3}-[0-9]+$", max_length=8)]
    part: Annotated[str, Meta(pattern="x")]
    exact: Annotated[str, Meta(min_length=40, max_length=40)]
    short: Annotated[bytes, Meta(max_length=1)]
    key: Annotated[bytes, Meta(min_length=16, max_length=16)]
    pair: Annotated[list[int], Meta(min_length=2, max_length=2)]
    none: Annotated[list[int], Meta(max_length=0)]
    names: Annotated[set[str], Meta(min_length=5, max_length=6)]
    digits: Annotated[dict[Annotated[str, Meta(pattern="^[0-9]$")], int], Meta(max_length=2)]
    many: Annotated[dict[str, bool], Meta(min_length=7)]
    coded: Annotated[dict[int, int], Meta(min_length=5)]


class Times(Struct):
    any_zone: dt.datetime
    zoned: Annotated[dt.datetime, Meta(tz=True)]
    naive: Annotated[dt.datetime, Meta(tz=False)]
    clock: dt.time
    day: dt.date
    span: dt.timedelta
    id: uuid.UUID


class Choices(Struct):
    literal: Literal["a", "b", 3, None]  # noqa: PYI061  as people write it too
    colour: Colour
    level: Level
    right: Right
    flag: bool
    nothing: None
    number_or_text: int | str | None
    order: OrderId
    fixed: Final[int] = 3


class Cat(Struct, tag=True, tag_field="kind"):
    lives: Annotated[int, Meta(ge=0, le=9)] = 9


class Dog(Struct, tag=True, tag_field="kind"):
    tricks: list[str] = []


class Owner(Struct):
    pet: Cat | Dog
    others: dict[str, Cat | Dog | None] = {}


class Row(Struct, array_like=True, tag="row"):
    left: int
    right: str = ""


class Sparse(Struct, omit_defaults=True):
    n: int = 0
    text: str = ""
    items: list[int] = []
    state: str | UnsetType = UNSET


@dataclasses.dataclass
class Moved:
    place: str
    by: uuid.UUID | None = None
    tags: list[str] = dataclasses.field(default_factory=list)


class Point(NamedTuple):
    x: int
    y: Decimal = Decimal(0)


class Note(TypedDict):
    text: str
    lang: NotRequired[Literal["de", "en"]]


class Page(Struct, Generic[T]):
    items: list[T]
    next: str | None = None


class Sets(Struct):
    texts: set[str]
    numbers: frozenset[int]
    decimals: set[Decimal]
    binaries: set[bytes]
    days: set[dt.date]
    colours: set[Colour]
    mixed: set[int | str]
    any: set[Any]
    ids: set[uuid.UUID]


class Containers(Struct):
    rest: tuple[int, ...]
    fixed: tuple[int, str, Point]
    by_number: dict[int, str]
    by_day: dict[dt.date, int]
    by_colour: dict[Colour, int]
    by_name: dict[str, list[Row]]
    free: dict[str, Any]
    bare_list: list  # type: ignore[type-arg]
    bare_dict: dict  # type: ignore[type-arg]


class Loose(Struct):
    any: Any
    raw: msgspec.Raw
    buffer: bytearray


class Tree(Struct):
    value: int
    children: list[Tree] = []


class Chain(Struct):
    value: int
    next: Chain | None


class Even(Struct):
    odd: Odd | None = None
    odds: dict[str, Odd] = {}


class Odd(Struct):
    even: Even
    n: int = 0


class Nested(Struct):
    note: Note
    moved: Moved
    page: Page[Placed]
    point: Point


ZOO: list[Any] = [
    Line, Placed, Bounds, Times, Choices, Owner, Row, Sparse, Moved, Point, Note, Page[Line], Sets,
    Containers, Loose, Tree, Chain, Even, Odd, Nested, int, str, bytes, bool, None, Decimal, Any,
    list[int], dict[str, int], int | None, Colour, dt.datetime, tuple[int, str], set[int],
    Annotated[int, Meta(title="a number", ge=3)],
]  # fmt: skip

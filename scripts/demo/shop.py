"""A small web shop: the changes of its first year, and the rule of its one domain event.

Customers sign up, some of them twice by mistake (with `Expect` 0 only the first one counts), move
and leave. Products are listed and repriced in batches; their stock goes down with every order and
up with deliveries. An order begins as an event, `OrderPlaced`, of which the applier below makes an
item of the table `orders`; plain updates carry it on, and cancelled ones are deleted.

The history is the same at every run.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any, TypeAlias

from appliers.applier import ApplierError, Appliers
from binlog.envelope import Event

Action: TypeAlias = dict[str, Any]

CUSTOMERS = 1_600
PRODUCTS = 240
ORDERS = 5_000
THINGS = ("kettle", "lamp", "scarf", "notebook", "mug", "chair", "radio", "blanket")
CITIES = ("Aarhus", "Bergen", "Cádiz", "Dresden", "Évora", "Fécamp", "Gdańsk", "Hamar")

appliers = Appliers()


@appliers.on("OrderPlaced", table="orders", version=1)
def place_order(item: dict[str, Any] | None, event: Event) -> dict[str, Any]:
    """What stands in the table once an order is placed: the event says what, we sum it up."""
    if item is not None:
        raise ApplierError("an order that was placed before")
    lines = event.data["lines"]
    return {
        **event.key,
        "state": "placed",
        "customer": event.data["customer"],
        "lines": lines,
        "total": sum(line["cents"] * line["quantity"] for line in lines),
    }


class Shop:
    """Lives through its year: each method gives the actions of something that happens."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._prices = {f"p{n:03d}": random.randrange(300, 40_000) for n in range(PRODUCTS)}
        self._customers: list[str] = []
        self._open_orders: list[str] = []
        self._joined = 0

    def year(self, orders: int) -> Iterator[Action]:
        yield self._list_products()
        for number in range(orders):
            while self._joined * ORDERS < CUSTOMERS * (number + 1):
                yield from self._sign_up()
            yield from self._order(f"o{number:05d}")
            while len(self._open_orders) > 40:
                yield from self._carry_on()
            if number % 500 == 499:
                yield self._reprice()
            if self._random.random() < 0.15:
                yield self._move()
            if self._random.random() < 0.03 and len(self._customers) > 100:
                yield self._leave()

    def _list_products(self) -> Action:
        items = [
            {
                "id": product,
                "name": f"{self._random.choice(THINGS)} {product[1:]}",
                "cents": cents,
                "stock": 200,
                "tags": sorted(self._random.sample(["new", "blue", "small", "wool"], 2)),
            }
            for product, cents in self._prices.items()
        ]
        return {"Action": "BatchWrite", "Table": "products", "Id": "listing", "Data": items}

    def _reprice(self) -> Action:
        """A sale: some products are listed anew, at a lower price and with full shelves."""
        chosen = self._random.sample(sorted(self._prices), 30)
        items = []
        for product in chosen:
            self._prices[product] = self._prices[product] * 9 // 10
            items.append(
                {
                    "id": product,
                    "name": f"sale {product[1:]}",
                    "cents": self._prices[product],
                    "stock": 300,
                }
            )
        return {"Action": "BatchWrite", "Table": "products", "Data": items}

    def _sign_up(self) -> Iterator[Action]:
        customer = f"c{self._joined:04d}"
        self._joined += 1
        self._customers.append(customer)
        action: Action = {
            "Action": "PutItem",
            "Table": "customers",
            "Key": {"id": customer},
            "Data": {"city": self._random.choice(CITIES), "orders": 0, "spent": 0},
            "Expect": 0,
        }
        yield action
        if self._random.random() < 0.05:  # the button, pressed twice
            yield action

    def _move(self) -> Action:
        return self._update(
            "customers",
            self._random.choice(self._customers),
            Set={"city": self._random.choice(CITIES)},
        )

    def _leave(self) -> Action:
        customer = self._customers.pop(self._random.randrange(len(self._customers)))
        return {"Action": "DeleteItem", "Table": "customers", "Key": {"id": customer}}

    def _order(self, order: str) -> Iterator[Action]:
        customer = self._random.choice(self._customers)
        products = self._random.sample(sorted(self._prices), self._random.choice((1, 1, 2, 3)))
        lines: list[dict[str, Any]] = [
            {"product": p, "cents": self._prices[p], "quantity": self._random.randint(1, 3)}
            for p in products
        ]
        self._open_orders.append(order)
        yield {
            "Action": "Event",
            "Type": "OrderPlaced",
            "Id": f"placed-{order}",
            "Table": "orders",
            "Key": {"id": order},
            "Data": {"customer": customer, "lines": lines},
        }
        for line in lines:
            yield self._update("products", line["product"], Add={"stock": -line["quantity"]})

    def _carry_on(self) -> Iterator[Action]:
        order = self._open_orders.pop(self._random.randrange(len(self._open_orders)))
        if self._random.random() < 0.06:
            yield {"Action": "DeleteItem", "Table": "orders", "Key": {"id": order}}
            return
        yield self._update("orders", order, Set={"state": "paid"})
        yield self._update(
            "orders", order, Set={"state": "sent", "parcel": f"{self._random.random():.9f}"[2:]}
        )
        if self._random.random() < 0.1:
            product = self._random.choice(sorted(self._prices))
            yield self._update("products", product, Add={"stock": 50})

    def _update(self, table: str, item: str, **change: Any) -> Action:
        return {"Action": "UpdateItem", "Table": table, "Key": {"id": item}, "Data": change}


def history(seed: int = 7, *, orders: int = ORDERS) -> Iterator[Action]:
    """The lines that `binlog append` is given, of a year with so many orders."""
    return Shop(Random(seed)).year(orders)

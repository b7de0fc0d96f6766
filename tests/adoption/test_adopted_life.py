"""An adopted table under events, others' writes and restores, by seeds: held against a model at every stop.

The model is a dict and the words of `docs/adopt.md`; it shares no code with stores, folds and bases. What
is rare has to happen in the runs, or they prove nothing (invariant 24).
"""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

from appliers.stores import MemoryStore
from binlog.errors import PoisonError
from binlog.values import decode_value
from consumers.local import Following, replicate
from snapshots.adopt_restore import restore
from snapshots.rebuild import Wanted, rebuild
from tests.adoption.adoption_world import Item, add, append, delete, folded, held, item, put
from tests.adoption.in_place import Place

SEEDS, STEPS = 24, 24
NAMES = ["k0", "k1", "k2", "k3"]  # few, so that they collide


class Life:
    """One table, one log, by one seed."""

    def __init__(self, folder: Path, seed: int, met: Counter[str]) -> None:
        self.random = Random(seed)
        self.folder = folder
        self.met = met
        names = [name for name in NAMES if self.random.random() < 0.7]
        self.base: dict[str, Item] = {name: item(name, 1) for name in names}
        self.place = Place(folder, self.base)
        self.place.take_over(self.place.adopt()).close()
        self.events: list[Item] = []
        self.outside = dict(self.base)  # untouched items, as who knows of no log left them
        self.restores = 0

    @property
    def marked(self) -> set[str]:
        """Items that an event has touched."""
        return {name for name, each in self.place.stored().items() if "_binlog" in each}

    @property
    def strays(self) -> dict[str, str]:
        """Untouched items that are not the base's, each with in what way."""
        found = {}
        for name in set(NAMES) - self.marked:
            now, was = self.outside.get(name), self.base.get(name)
            if now != was:
                found[name] = "new" if was is None else "gone" if now is None else "changed"
        return found

    def step(self) -> None:
        kinds = [self.event, self.event, self.write_past_the_log, self.follow, self.mend]
        self.random.choices(kinds, [4, 4, 5, 4, 1])[0]()

    def event(self) -> None:
        name, number = self.random.choice(NAMES), self.random.randrange(1, 9)
        made = self.random.choice([add(name, number), put(name, number), delete(name)])
        self.events.append(made)
        append(self.place.log, made)

    def write_past_the_log(self) -> None:
        """Only to what no event has touched: after that it is damage, not an adoption's matter."""
        name = self.random.choice(NAMES)
        if name in self.marked:
            return
        if self.random.random() < 0.3:
            self.place.remove(name)
            self.outside.pop(name, None)
        else:
            self.outside[name] = {**item(name, 1), "n": self.random.randrange(4)}
            self.place.write(self.outside[name])

    def follow(self) -> None:
        """Whatever a consumer does, it never writes over what others wrote."""
        before, strays = self.place.stored(), self.strays
        stopped = self.stopped()
        if stopped is None:
            self.met["followed"] += 1
            self.compare(strays)
        else:
            [named] = [name for name in NAMES if f'"{name}"' in str(stopped)]
            assert stopped.details["stray"] == strays[named]
            self.met[f"stopped: {strays[named]}"] += 1
        after = self.place.stored()
        for name, kind in strays.items():
            if kind == "gone" and name in after:
                self.met["healed"] += 1  # by a whole item: either order ends alike
            else:
                assert before.get(name) == after.get(name)

    def stopped(self) -> PoisonError | None:
        """Carry the store on; what ended it."""
        with closing(self.place.store()) as store:
            try:
                replicate(self.place.log, store, Following(once=True))
            except PoisonError as error:
                return error
        return None

    def compare(self, strays: dict[str, str]) -> None:
        """All events are in the items; those that nobody has touched are as they were left."""
        wanted = folded(self.base, self.events)
        with self.place.store().view() as view:
            found = held(view)
        for name in strays:
            if name not in self.marked:
                found.pop(name, None)
                wanted.pop(name, None)
        assert found == wanted

    def mend(self) -> None:
        """Keep the strays, put the base back, and bring them in by the log."""
        strays = self.strays
        adoption, found = self.place.strays()
        names = {decode_value(stray.key)["id"]: stray.kind for stray in found}
        assert names == strays
        self.restores += 1
        done = restore(
            found, adoption, self.place.physical(), self.folder / f"strays-{self.restores}"
        )
        assert (done.kept, done.restored, done.moved) == (len(strays), len(strays), 0)
        for name in strays:
            now, was = self.outside.pop(name, None), self.base.get(name)
            if was is not None:
                self.outside[name] = was
            rest = {k: v for k, v in (now or {}).items() if k != "id"}
            made = delete(name) if now is None else put(name, 0) | {"Data": rest}
            self.events.append(made)
            append(self.place.log, made)
            self.met[f"restored: {strays[name]}"] += 1

    def end(self) -> None:
        """Mended, all replicas are one."""
        self.mend()
        self.follow()
        rebuilt = MemoryStore()
        rebuild(self.place.log, rebuilt, Wanted(bases=self.place.bases))
        assert held(rebuilt) == folded(self.base, self.events)
        with self.place.store().view() as view:
            rows: list[Any] = [dict(each.scan("users")) for each in (view, rebuilt)]
        assert rows[0] == rows[1]


def live(folder: Path, seed: int, met: Counter[str]) -> None:
    folder.mkdir()
    life = Life(folder, seed, met)
    try:
        for _ in range(STEPS):
            life.step()
        life.end()
    except BaseException as error:
        error.add_note(f"seed {seed}, events {life.events}")
        raise


def test_an_adopted_table_is_what_its_log_says(tmp_path: Path) -> None:
    """And what is rare has happened on the way."""
    met: Counter[str] = Counter()
    for seed in range(SEEDS):
        live(tmp_path / str(seed), seed, met)
    kinds = ("changed", "gone", "new")
    wanted = {*(f"stopped: {k}" for k in kinds), *(f"restored: {k}" for k in kinds)}
    assert met.keys() >= wanted | {"followed", "healed"}, met

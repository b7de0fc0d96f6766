"""Faults of tables in numbers: batches of new items, and a rebuild, on a running stand-in.

The stories of `test_faults_services` have few keys; here calls carry 25 items. The proxy is between
the real SDK and the stand-in; the judge is what was given to be written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest

from appliers.item import Row
from appliers.stores.dynamodb import DynamoDBStore
from appliers.stores.dynamodb_tables_spec import Specification
from appliers.stores.memory import MemoryStore
from appliers.summary import summarize
from binlog.changes import put_item
from binlog.logs import DirectoryLog, create_directory_log
from binlog.params import Params
from binlog.producer import Producer
from consumers.local import Following, replicate
from scripts.standins.proxy import Proxy
from scripts.standins.proxy_faults import Fault
from scripts.standins.proxy_intruder import Intruder
from scripts.standins.server import Server
from snapshots.rebuild import Wanted, rebuild
from tests.contracts.store_contract import GENESIS, checkpoint, content, fold, key, put, row
from tests.faults.aws_place import client_of, hasten, pause
from tests.faults.fault_story import check_met
from tests.faults.fault_strategies import BUILDS, STATEMENTS, names_of, one_each
from tests.faults.patience import give_up_in_silence

Open = Callable[[Sequence[Fault]], tuple[DynamoDBStore, Intruder]]


@pytest.fixture
def tables(
    ministack: Server, stream_name: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Open]:
    """Makes a store behind faults; those of one test have one prefix."""
    hasten(monkeypatch.setattr)
    give_up_in_silence(monkeypatch.setattr)
    prefix = stream_name()

    with ExitStack() as stack:

        def open_store(faults: Sequence[Fault]) -> tuple[DynamoDBStore, Intruder]:
            intruder = Intruder(faults)
            proxy = stack.enter_context(Proxy(ministack.url, intruder))

            def connect(is_once: bool) -> object:
                attempts = 1 if is_once else 6
                return client_of("dynamodb", proxy.url, attempts=attempts)

            store = DynamoDBStore(
                Specification.load(None, prefix),
                connect=connect,
                pause=pause,
                random=Random(1),
                width=6,
                landing_s=0.5,  # time enough for what is late here
            )
            stack.callback(store.close)
            return store, intruder

        yield open_store


def test_new_items_meet_every_fault_and_each_is_written_once(tables: Open) -> None:
    """By blind puts and by folds; what lands late changes nothing."""
    faults = [each._replace(of=(0, 3)) for each in one_each(STATEMENTS)]
    store, intruder = tables(faults)
    store.bind(GENESIS)
    generation = store.create(tables=None, fingerprint="f", excluded=()).id
    wanted: dict[bytes, Row] = {}
    for turn in range(1, 9):
        names = [f"{turn}-{number:02d}" for number in range(60)]
        writes = [put(n, turn) if turn % 2 else fold(n, turn, 0) for n in names]
        assert store.commit(generation, writes, [checkpoint(0, turn)]) == []
        wanted |= {key(name): row(name, turn) for name in names}
    assert content(store) == wanted
    intruder.land_all()
    assert content(store) == wanted
    check_met(Counter({" ".join(met): n for met, n in intruder.met.items()}), names_of(STATEMENTS))
    assert not intruder.left


def test_a_rebuild_meets_every_fault_and_is_what_it_is_without_any(
    tables: Open, tmp_path: Path
) -> None:
    """Into tables of which one is there already; then it is followed."""
    create_directory_log(tmp_path / "log", Params(log_id="ab" * 16, partitions=4))
    log = DirectoryLog(tmp_path / "log")
    add(log, 0, 40)
    store, _ = tables([])
    replicate(log, store, Following(once=True))
    store.close()
    add(log, 40, 450)
    faults = [each._replace(of=(0, 3, 7)) for each in one_each(BUILDS, first=1)]
    store, intruder = tables(faults)
    rebuild(log, store, Wanted(), workers=1)
    intruder.quiet()
    reference = MemoryStore()
    rebuild(log, reference, Wanted(), workers=1)
    assert summarize(store) == summarize(reference)
    met = Counter({" ".join(met): n for met, n in intruder.met.items()})
    check_met(met, names_of(BUILDS))
    add(log, 450, 470)
    for each in (store, reference):
        replicate(log, each, Following(once=True))
    assert summarize(store) == summarize(reference)


def add(log: DirectoryLog, first: int, end: int) -> None:
    with Producer(log) as producer:
        for number in range(first, end):
            producer.append(put_item("orders", {"id": f"o{number % 400}", "n": number}, key="id"))

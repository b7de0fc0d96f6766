"""Stories of faults on running stand-ins, through the proxy; the ledger and the reference judge."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings

from binlog.errors import BusyError
from scripts.standins.proxy_faults import Fault
from scripts.standins.server import Server
from scripts.standins.services import KINESALITE
from tests.faults.aws_place import Killable, StandInPlace, hasten, play_on
from tests.faults.fault_story import (
    Ask,
    Follow,
    Land,
    Publish,
    Replica,
    Restart,
    Run,
    Step,
    Story,
    check_met,
)
from tests.faults.fault_strategies import (
    CONTROL,
    PUTS,
    READS,
    TABLES,
    acts,
    names_of,
    one_each,
    small_stories,
)
from tests.faults.kinesis_double_place import SQLiteReplica
from tests.faults.patience import give_up_in_silence
from tests.integration.waiting import PATIENCE_S

MEMORY, SQLITE, TABLES_ = 0, 1, 1  # the replicas of a place, the third one if it has both
PUBLISHING: list[Step] = [Publish(0, 9), Publish(1, 9), Publish(2, 5, 0)]
REPLICATE = [sys.executable, "-m", "binlog.cli", "replicate"]
SMALL = [*PUTS, *READS, *acts("split", "merge")]


@pytest.fixture(autouse=True)
def _hasten(monkeypatch: pytest.MonkeyPatch) -> None:
    hasten(monkeypatch.setattr)
    give_up_in_silence(monkeypatch.setattr)


@pytest.fixture
def killable(tmp_path: Path, kinesalite: Server) -> Iterator[Killable]:
    """A stand-in of the test's own."""
    mortal = Killable(lambda port: Server(KINESALITE, tmp_path, port=port))
    yield mortal
    mortal.close()


def test_every_kind_of_fault_of_a_stream(kinesis_local: Server, tmp_path: Path) -> None:
    """Each kind once, on the wire, in one story."""
    kinds = [*PUTS, *READS, *CONTROL, *acts("split", "merge")]
    following: list[Step] = [Follow(SQLITE), Follow(MEMORY)]
    steps = [*PUBLISHING, *following] * 2 + [*PUBLISHING, Follow(SQLITE, "between"), Ask()]
    rest: list[Step] = [Restart(1, dies=True), *PUBLISHING, Land(), *following, *PUBLISHING]
    replica = SQLiteReplica(tmp_path / "replica.db")
    story = Story([*steps, *rest], one_each(kinds))
    met = play_on(kinesis_local.url, story, replicas=[replica])
    cases = ("acknowledged", "copies (model)", "consumer killed between commit")
    check_met(met, [*names_of(kinds), *cases])


def test_every_kind_of_fault_of_tables(kinesalite: Server, ministack: Server) -> None:
    """The same of DynamoDB, while its clock and Kinesis's are two hours ahead of ours."""
    following: list[Step] = [Follow(TABLES_), Publish(0, 9), Follow(TABLES_, "between")]
    steps: list[Step] = [Publish(0, 9), *following, Follow(TABLES_), Publish(1, 9)]
    met = play_on(
        kinesalite.url,
        Story(
            [*steps, Follow(TABLES_, "after"), *PUBLISHING, *following],
            one_each(TABLES),
            skew_ms=7_200_000,
        ),
        dynamodb_url=ministack.url,
    )
    check_met(met, [*names_of(TABLES), "acknowledged", "consumer killed between commit"])


def test_schedules_that_hypothesis_finds(kinesalite: Server, tmp_path: Path) -> None:
    """Few here, many in `scripts/soak-services`, and on the double."""
    met: Counter[str] = Counter()

    @settings(max_examples=6, phases=[Phase.explicit, Phase.generate], database=None)
    @given(small_stories(SMALL, replicas=2))
    def told(story: Story) -> None:
        met["stories"] += 1
        replica = SQLiteReplica(tmp_path / f"{met['stories']}.db")
        met.update(play_on(kinesalite.url, story, replicas=[replica]))

    told()
    check_met(met, ["acknowledged", "copies (model)"])


@pytest.mark.parametrize("where", ["PutRecords", "GetRecords"])
def test_a_service_that_is_killed_and_comes_back_loses_nothing(
    where: str, killable: Killable, ministack: Server
) -> None:
    """With SIGKILL, before a call and behind one: while producers send, and while consumers read.

    Its clock is two hours behind ours.
    """
    faults = [
        Fault(where, 2, "act after", code="kill"),
        Fault(where, 9, "act", code="kill"),
        Fault("PutRecords", 5, "lose reply"),
    ]
    steps: list[Step] = [Publish(0, 9), Publish(1, 9, 0), Follow(0), Follow(1), Publish(2, 9)]
    met = play_on(
        killable.server.url,
        Story([*steps, *steps, Follow(1, "between"), *steps], faults, skew_ms=-7_200_000),
        dynamodb_url=ministack.url,
        killable=killable,
    )
    check_met(met, [f"act {where} kill", f"act after {where} kill", "acknowledged"])
    assert killable.kills == 2


def test_a_consumer_s_process_is_killed_in_the_middle_of_its_writes(
    kinesalite: Server, ministack: Server, tmp_path: Path
) -> None:
    """With SIGKILL, when the proxy sees one of them; the next process goes on and repeats none."""
    story = Story([Publish(1, 9), Follow(TABLES_), Publish(0, 9), Follow(MEMORY)])
    unfinished = 0
    with StandInPlace(story, kinesalite.url, dynamodb_url=ministack.url) as place:
        run = Run(place, story)
        process: list[subprocess.Popen[bytes]] = []
        place.intruder.actions["kill consumer"] = lambda _: process[-1].kill()
        for writes in (5, 8):
            run.do(Publish(0, 9))
            at = place.intruder.calls["PutItem"] + writes
            place.intruder.add([Fault("PutItem", at, "act after", code="kill consumer")])
            command = [*REPLICATE, *place.addresses(), "--once", "--json"]
            with (tmp_path / "said").open("wb") as said:
                process.append(subprocess.Popen(command, stdout=said, stderr=said))
                status = process[-1].wait(PATIENCE_S)
            assert status == -signal.SIGKILL, (tmp_path / "said").read_text()
            unfinished += is_unfinished(place.replicas[TABLES_])
        place.intruder.quiet()
        run.play()
    assert unfinished > 0, "no process was killed between an item and its checkpoint"


def is_unfinished(replica: Replica) -> bool:
    """Whether some of a commit is in the tables and its checkpoint is not: readers are told so."""
    try:
        with closing(replica.open()) as store:
            for _ in store.scan("tab"):
                pass
    except BusyError as error:
        return "left unfinished" in str(error)
    return False


def test_the_same_schedules_by_botocore_s_own_hooks(kinesalite: Server, tmp_path: Path) -> None:
    """No proxy: what a call meets happens in the client, before it is sent and behind its reply."""
    kinds = [*PUTS, *READS]
    steps: list[Step] = [*PUBLISHING, Follow(MEMORY), Follow(SQLITE)] * 3
    met = play_on(
        kinesalite.url,
        Story([*steps, Ask(), Land(), *PUBLISHING], one_each(kinds)),
        replicas=[SQLiteReplica(tmp_path / "replica.db")],
        hooks=True,
    )
    check_met(met, [*names_of(kinds), "acknowledged"])

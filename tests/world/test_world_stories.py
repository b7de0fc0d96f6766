"""What happened is told in the domain's words, and as code that makes it happen again."""

from __future__ import annotations

import msgspec
import pytest

from binlog.changes import put_item, update_item
from binlog.testing.violation import Violation
from binlog.testing.world.outcome import digest_of
from binlog.testing.world.seeded import happen, play, seed_text, steps_of
from binlog.testing.world.store import Wrote
from binlog.testing.world.world import World

WHERE = "from binlog.testing import World", "from binlog.testing.world.world import World"


def short_world() -> World:
    world = World(tell=True)
    world.publish(0, [put_item("orders", {"id": "a", "n": 1}, key="id", event_id="e1")])
    world.tick(2)
    world.tick(3)
    world.call(0, "late")
    world.tick(85)
    world.call(0)
    world.publish(0, [update_item("orders", {"id": "a"}, {"Add": {"n": 1}}, event_id="e2")])
    world.tick(5)
    world.call(0)
    world.consume(0)
    world.land()
    world.crash(1, 1)
    world.kill(0)
    world.damage(0, 0)
    return world


def test_a_story_says_who_did_what_and_what_came_of_it() -> None:
    """Read by who knows the domain and neither the log nor this project."""
    assert short_world().story == [
        "process 0 publishes #1: PutItem of orders {id: a}: {id: a, n: 1}",
        "5 ms pass",
        "process 0 sends #1: it stays under way, and nobody replies",
        "85 ms pass",
        "#1 is unknown: it may or may not be in the log",
        "process 0 publishes #2: UpdateItem of orders {id: a}: {Add: {n: 1}}",
        "5 ms pass",
        "process 0 sends #2: it lands, and is acknowledged",
        "replica 0 has applied 1 of partition 0",
        "what was under way lands at last: #1",
        "replica 1: its consumer crashes",
        "process 0 is killed",
        "a record that is no frame lands in partition 0: empty",
    ]


def test_a_story_is_no_list_of_everything() -> None:
    """Of many events a few stand for all; the code has them all."""
    world = World(tell=True)
    event = put_item("orders", {"id": "a", "n": 1}, key="id", event_id="e1")
    world.publish(0, [event] * 20)
    world.call(0, "lose reply")
    world.tick(5)
    world.call(0, "throttle")
    assert world.story[7:] == [
        "process 0 publishes 13 more events: #8 to #20",
        "process 0 sends #1 to #20: it lands, but the reply is lost",
        "5 ms pass",
        "process 0 sends #1 to #20: the log refuses it: too much at once",
    ]
    assert world.code[0].count("put_item") == 20


def test_code_makes_the_same_world() -> None:
    """What a failure prints is pasted into a test, and has to fail in the same way."""
    world = short_world()
    world.settle()
    source = world.test_source().replace(*WHERE)
    scope: dict[str, object] = {}
    exec(source.replace("    world = ", "    global world\n    world = "), scope)
    run = scope["test_what_went_wrong"]
    assert callable(run)
    run()
    again = scope["world"]
    assert isinstance(again, World)
    assert digest_of(again) == digest_of(world)


@pytest.mark.parametrize("number", range(6))
def test_a_told_run_is_the_same_run(number: int) -> None:
    """To tell changes nothing, or a failure would go away when it is told."""
    parameters, steps = steps_of(seed_text(number))
    assert digest_of(play(parameters, steps, tell=True)) == digest_of(play(parameters, steps))


@pytest.mark.parametrize("number", range(4))
def test_the_code_of_any_run_is_source_that_runs(number: int) -> None:
    """Whatever happens in a run can be written down."""
    parameters, steps = steps_of(seed_text(number))
    world = play(parameters, steps, tell=True)
    compile(world.test_source(), "a test", "exec")
    again = World(world.rules, kinesis=parameters.kinesis)
    scope: dict[str, object] = {"world": again}
    imports = [line for line in world.test_source().splitlines() if line.startswith("from ")]
    exec("\n".join(imports[1:]), scope)
    exec("\n".join(world.code), scope)
    assert digest_of(again) == digest_of(world)


def test_a_violation_says_what_each_replica_holds_and_how_to_repeat_it() -> None:
    """Story, difference and test in one text."""
    world = short_world()
    journal = world.replicas[0].store.journal
    index = max(i for i, entry in enumerate(journal) if isinstance(entry, Wrote))
    entry = journal[index]
    assert isinstance(entry, Wrote)
    journal[index] = msgspec.structs.replace(
        entry, row=msgspec.structs.replace(entry.row, data=b"\x80")
    )
    with pytest.raises(Violation) as caught:
        world.check()
    text = str(caught.value)
    assert "replica 0: orders {id: a} was written at version 1 with another content" in text
    assert "replica 0 holds orders {id: a} = {id: a, n: 1} (version 1)" in text
    assert "by its events a replica at the log's end holds orders {id: a}" in text
    assert "    world.check()" in text
    assert "    world = World()" in text


def test_nothing_is_told_unless_it_is_asked_for() -> None:
    """A run of a seed has no time for words."""
    world = World()
    for name, args in steps_of(seed_text(1))[1][:40]:
        happen(world, name, args)
    assert not world.story
    assert not world.code

"""A bad deploy writes wrong events for a while; the table is rebuilt without them."""

import json

from binlog.drills import Action, Drill, drill, twin
from binlog.drills.ledger import Entry

WITHOUT = "binlog rebuild {log} {live} --exclude session={session}"
WRONG = 100  # what prices in cents are times those in euros


def deploy(d: Drill) -> str:
    """Updates of many items by the new version, and items that only it has made; its session."""
    keys = d.random.sample(sorted(d.items("live")), 20)
    made = [
        Action(type="PutItem", key=f"new-{n}", data={"total": 5 * WRONG, "unit": "cents"})
        for n in range(5)
    ]
    updates = [
        Action(type="UpdateItem", key=key, data={"Set": {"unit": "cents"}, "Add": {"total": WRONG}})
        for key in keys
    ]
    return d.append([*updates, *made], tag="wrong")


def right(entry: Entry) -> bool:
    """Not of the new version."""
    return entry.tag != "wrong"


@drill(
    "bad-deploy",
    title="A bad deploy writes wrong events",
    looks="Totals are off since a deploy. Nothing is broken: the events are valid, and wrong.",
    on=("embedded", "stack"),
    rto_s=60.0,
    rto_s_on={"stack": 120.0},
    take_back="`binlog rebuild LOG STORE` without the rule brings the wrong events back.",
    names={
        "before": "a moment before the deploy, such as 2026-01-31T12:00:00Z, or a vector",
        "key": """the key of an item that is wrong, as JSON: '{"id": "..."}'""",
        "session": "since whose session a wrong attribute has its value, as step 1 prints it",
    },
)
@twin(
    "only the first wrong event is left out",
    {WITHOUT: "binlog rebuild {log} {live} --exclude id={wrong_id}"},
)
@twin(
    "the table is brought back to before the deploy, and the wrong events come in again",
    {WITHOUT: "binlog rebuild {log} {live} --until {before}"},
)
def bad_deploy(d: Drill) -> None:
    """A new version of a producer writes wrong events among right ones, then it is rolled back.

    `binlog blame` tells which process wrote a wrong value, and the table as it was before, made anew
    aside, what has changed since. The table is rebuilt without all that this process wrote, aside
    first, and the difference is looked at; what others wrote since stays.
    """
    d.init()
    d.load()
    consumer = d.replicate("live")
    d.flow(300)
    d.caught_up("live")
    before = d.ends()
    d.name(before=before)

    def wrong() -> str:
        d.caught_up("live")
        count = sum("unit" in item for item in d.items("live").values())
        return f"{count} items of the table have prices in cents" if count else ""

    with d.disaster("a new version writes prices in cents", shown=wrong):
        deploy(d)
        d.flow(200)
    d.name(wrong_id=d.tagged("wrong")[0].id, key=json.dumps({"id": "new-0"}))
    with d.phase("detect"):
        d.settle("live")  # a table in DynamoDB is compared while nobody writes to it
        consumer.end()
        told = d.run("binlog blame {live} --log {log} --table orders --key {key} --json")
        d.name(session=json.loads(told.stdout)["attributes"]["unit"]["since"]["session"])
    with d.phase("decide"):
        d.by_hand("roll the deploy back, so that no more wrong events come")
        d.run("binlog rebuild {log} {other} --until {before}")
        d.run("binlog diff {other} {live}", exit=1)
        d.run("binlog rebuild {log} {aside} --exclude session={session}")
        d.run("binlog diff {live} {aside}", exit=1)
    with d.phase("restore"):
        d.run(WITHOUT)
    with d.phase("verify"):
        d.run("binlog verify {live} {log}")
    touched = {entry.action.key for entry in d.tagged("wrong")}

    def others(entry: Entry) -> bool:
        """Of an item that was never wrong: however the recovery was done, they come to the table."""
        return entry.action.key not in touched

    d.load()
    with d.phase("switch"):
        d.replicate("live")
        d.caught_up("live", wanted=others)
    d.flow(200)
    d.settle("live", wanted=others)
    places = d.log_holds()
    ends: dict[str, int] = json.loads(before)

    def early(entry: Entry) -> bool:
        """Of the moment that the table was brought back to, aside."""
        partition, offset = places.get(entry.id, (0, 0))
        return 0 < offset <= ends.get(str(partition), 0)

    d.holds("other", wanted=early, measures=False)
    d.holds("live", wanted=right)

"""The figures of the cost model: each is counted in a `World`, and money comes in only here."""

from __future__ import annotations

from random import Random

import msgspec

from appliers.state_base import Base, pack, units
from binlog.frame import Session
from binlog.reader import PAGE_BYTES, Reader
from binlog.sequencer_state import Closed, SequencerState, SessionState
from consumers.thrift import ITEMS, LONGEST_S
from scripts.benchmarks.cost_prices import MONTH_HOURS, MONTH_S, dollars
from scripts.benchmarks.cost_world import Scene, World, between
from scripts.benchmarks.workload import History

RATES = (10.0, 100.0, 1_000.0)
LINGERS_S = (0.05, 1.0, 5.0)
PAGES = (64 * 1024, 512 * 1024, PAGE_BYTES)
PACKING_GOAL = 150.0  # events a payload unit at full load
CHECKPOINT_GOAL = 0.02  # of the table's write units
ROW_OVERHEAD_BYTES = 512
A_MS, L_MS = 900_000, 3_600_000


class Sizes(msgspec.Struct, frozen=True):
    """How long one looks. The smaller, the noisier."""

    scene: Scene = Scene()
    warm_s: float = 10.0
    seconds: float = 60.0
    packing_events: int = 6_000
    full_events: int = 60_000
    replay_events: int = 60_000
    crowd: int = 5_000
    crowd_s: float = 60.0
    crowd_hours: float = 1.0


NORMAL = Sizes()
SMALL = Sizes(
    scene=Scene(keys=5_000),
    warm_s=2.0,
    seconds=4.0,
    packing_events=600,
    full_events=8_000,
    replay_events=4_000,
    crowd=300,
    crowd_s=4.0,
    crowd_hours=0.02,
)


class Packing(msgspec.Struct, frozen=True):
    """One producer alone."""

    rate: float  # events a second; 0: all it can take
    linger_s: float
    events: int
    records: int
    units: int
    record_bytes: float

    @property
    def per_million(self) -> float:
        """PUT payload units a million events."""
        return self.units / self.events * 1e6


def packing(rate: float, linger_s: float, sizes: Sizes) -> Packing:
    """Records and units at a rate."""
    scene = msgspec.structs.replace(sizes.scene, producers=1, rate=rate, linger_s=linger_s)
    world = World(scene)
    world.produce(max(sizes.packing_events / rate, 4 * linger_s))
    world.settle()
    return _packing(world, rate, linger_s)


def full_load(sizes: Sizes) -> Packing:
    """A producer that always has more to send."""
    world = World(msgspec.structs.replace(sizes.scene, producers=1))
    world.pour(sizes.full_events)
    world.settle()
    return _packing(world, 0.0, world.scene.linger_s)


def _packing(world: World, rate: float, linger_s: float) -> Packing:
    puts = world.kinesis.puts
    world.close()
    return Packing(
        rate,
        linger_s,
        world.acknowledged,
        puts["records"],
        puts["units"],
        puts["bytes"] / puts["records"],
    )


class Line(msgspec.Struct, frozen=True):
    """One way of having the table: what is used a second, and what a month of it costs."""

    name: str
    records_s: float
    put_units_s: float
    shards: int
    write_units_s: float  # of tables
    checkpoint_units_s: float
    read_units_s: float
    dollars: dict[str, float]

    @property
    def total(self) -> float:
        """Dollars a month."""
        return sum(self.dollars.values())


def bill(sizes: Sizes) -> list[Line]:
    """Ours, counted, beside the two others, for one region and for two."""
    scene = sizes.scene
    rate = scene.producers * scene.rate
    world = World(scene)
    world.live(sizes.warm_s)
    before = world.books()
    followed = world.live(sizes.seconds)
    used = between(before, world.books())
    world.close()
    scale = rate / used.events  # chance sends a little more or less
    followed_scale = rate / followed
    ours = _ours(
        1,
        records=used.puts["records"] * scale,
        put_units=used.puts["units"] * scale,
        put_bytes=used.puts["bytes"] * scale,
        writes=used.writes["table"] * followed_scale,
        checkpoints=used.checkpoints * followed_scale,
        reads=sum(used.reads.values()) * followed_scale,
    )
    twice = _ours(
        2,
        records=ours.records_s,
        put_units=ours.put_units_s,
        put_bytes=used.puts["bytes"] * scale,
        writes=2 * ours.write_units_s,
        checkpoints=2 * ours.checkpoint_units_s,
        reads=2 * ours.read_units_s,
    )
    return [ours, _plain(rate), twice, _global_tables(rate)]


def _ours(
    tables: int,
    *,
    records: float,
    put_units: float,
    put_bytes: float,
    writes: float,
    checkpoints: float,
    reads: float,
) -> Line:
    shards = max(1, -(-records // 1_000), -(-put_bytes // 1_000_000))
    return Line(
        "this project, " + ("one table" if tables == 1 else "a table in two regions"),
        records,
        put_units,
        int(shards),
        writes,
        checkpoints,
        reads,
        {
            "shards": dollars("shard_hour", shards * MONTH_HOURS),
            "puts": dollars("put_unit", put_units * MONTH_S),
            "table writes": dollars("write_unit", writes * MONTH_S),
            "checkpoints": dollars("write_unit", checkpoints * MONTH_S),
            "reads": dollars("read_unit", reads * MONTH_S),
        },
    )


def _plain(rate: float) -> Line:
    """One record an event, one write an event: a loop around put_record, and one around put_item.

    As kindly as can be: every record is one unit, every item a unit, the shard is full to the
    brim, updates need no read, and no checkpoint is counted.
    """
    shards = -(-rate // 1_000)
    return Line(
        "one record an event, one table",
        rate,
        rate,
        int(shards),
        rate,
        0.0,
        0.0,
        {
            "shards": dollars("shard_hour", shards * MONTH_HOURS),
            "puts": dollars("put_unit", rate * MONTH_S),
            "table writes": dollars("write_unit", rate * MONTH_S),
        },
    )


def _global_tables(rate: float) -> Line:
    """Every write is a replicated write unit in each region (MREC); no log, and nothing to replay."""
    return Line(
        "Global Tables, two regions",
        0.0,
        0.0,
        0,
        2 * rate,
        0.0,
        0.0,
        {"table writes": dollars("replicated_write_unit", 2 * rate * MONTH_S)},
    )


class Replay(msgspec.Struct, frozen=True):
    """A replay by pages of one size, and what the keys say independently of it."""

    page_bytes: int
    events: int
    batches: int
    distinct: int  # keys, summed over the batches
    write_units: int


def replay(page_bytes: int, sizes: Sizes) -> Replay:
    """Of a log of Zipf keys into DynamoDB."""
    world = World(msgspec.structs.replace(sizes.scene, producers=1))
    world.pour(sizes.replay_events)
    world.settle()
    reader = Reader(world.log, page_bytes=page_bytes)
    distinct = batches = 0
    while (runs := reader.read()) is not None:
        keys = {key for run in runs for key in run.columns.keys}  # of one table
        distinct += len(keys)
        batches += bool(keys)
    engine = world.follow_by(page_bytes)
    events = world.follow()
    engine.checkpoint()
    found = Replay(page_bytes, events, batches, distinct, world.dynamo.writes["table"])
    world.close()
    return found


class Share(msgspec.Struct, frozen=True):
    """Checkpoints beside the table's own writes."""

    sessions: int
    partitions: int
    events: int
    table_units: int
    checkpoint_units: int
    bases: int  # made, of `checkpoint_units` the larger part if any

    @property
    def share(self) -> float:
        """Of the table's own."""
        return self.checkpoint_units / self.table_units


def live_share(partitions: int, sizes: Sizes) -> Share:
    """So many producers that each sends an event now and then, all of them known everywhere."""
    rate = sizes.scene.producers * sizes.scene.rate
    scene = msgspec.structs.replace(
        sizes.scene, producers=sizes.crowd, rate=rate / sizes.crowd, partitions=partitions
    )
    world = World(scene)
    world.introduce()
    world.follow()
    world.live(sizes.crowd_s / 2)
    before = world.books()
    followed = world.live(sizes.crowd_s)
    used = between(before, world.books())
    world.close()
    return Share(
        sizes.crowd,
        partitions,
        followed,
        used.writes["table"],
        used.checkpoints,
        int(used.writes["base"] > 0),
    )


def hour_share(partitions: int, items_per_event: float, sizes: Sizes) -> Share:
    """The rows and bases of one partition for as long as it takes every session to be renewed.

    What `live_share` is too short to see: sessions age, so bases are renewed. Rows and bases are
    the store's own (`appliers.state_base.pack`), as often as the engine writes them; the table's
    units are its items, as many an event as the bill has counted.
    """
    random = Random(sizes.scene.seed)
    rate = sizes.scene.producers * sizes.scene.rate / partitions
    pause_s = min(LONGEST_S, max(sizes.scene.poll_s, ITEMS / (rate * items_per_event)))
    state = SequencerState(mark=1_700_000_000_000, begun=True, digest=random.randbytes(32))
    for family in sorted(random.randbytes(16) for _ in range(sizes.crowd)):
        born_ms = state.mark - random.randrange(A_MS)
        session = SessionState(Session(family, 1), born_ms, 1 + random.randrange(9), started=True)
        state.sessions.append(session)
    base: Base | None = None
    checkpoints = bases = 0
    events = 0.0
    for _ in range(round(sizes.crowd_hours * 3600 / pause_s)):
        state.mark += round(pause_s * 1000)
        events += rate * pause_s
        for session in random.choices(state.sessions, k=round(rate * pause_s)):
            session.next += 1
            if session.born_ms + A_MS < state.mark:  # it renews itself at the next event
                session.session = Session(session.session.family, session.session.generation + 1)
                session.born_ms, session.next = state.mark - random.randrange(1000), 2
        state.offset = round(events)
        state.closed = [
            Closed(s.session.family, s.session.generation, s.born_ms + L_MS)
            for s in state.sessions
            if s.session.generation > 1
        ]
        packed = pack(state.encode(), base, token=random.randbytes)
        checkpoints += units(len(packed.row) + ROW_OVERHEAD_BYTES)
        if packed.base is not None:
            size = units(len(packed.base.data))
            checkpoints += size if packed.replaced is None else 2 * size
            bases += 1
        base = packed.named
    return Share(
        sizes.crowd,
        partitions,
        round(events),
        round(events * items_per_event),
        checkpoints,
        bases,
    )


def event_bytes(sizes: Sizes) -> float:
    """What an event of the history is as a line of JSON, on average."""
    spec = History(2_000, sizes.scene.keys, sizes.scene.seed)
    lines = [len(msgspec.json.encode(action)) for action in spec]
    return sum(lines) / len(lines)

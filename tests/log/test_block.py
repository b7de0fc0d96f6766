"""The block's format: what is written is read, what is not is refused, within bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from binlog.log import Put, Record
from binlog.logs.block import (
    BLOCK_BYTES_MAX,
    HEAD_BYTES,
    Bad,
    Block,
    block_bytes,
    checksum,
    encode_block,
    find_block,
    parse_block,
    signature,
)
from binlog.logs.scan import scan_blocks

LOG = b"L" * 16
SIGN = signature(LOG, 1_000)

frames = st.lists(
    st.builds(Put, st.integers(0, 65_535), st.binary(min_size=1, max_size=40)),
    min_size=1,
    max_size=5,
)


def encode(puts: list[Put], offset: int = 0, arrival_ms: int = 7) -> bytes:
    return encode_block(SIGN, offset, arrival_ms, puts, [put.data for put in puts])


class Bytes:
    """A file system of one file, which gives what it has."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def pread(self, _: int, size: int, offset: int, /) -> bytes:
        return self.data[offset : offset + size]


def scan(data: bytes, stop: int | None = None) -> tuple[list[Record], int, Bad | None]:
    records: list[Record] = []
    found = scan_blocks(
        Bytes(data),  # type: ignore[arg-type]
        0,
        1_000,
        SIGN,
        0,
        len(data) if stop is None else stop,
        records,
        after=-1,
        partitions=None,
        bytes_max=1 << 20,
    )
    return records, found.offset, found.bad


def test_layout_is_as_documented() -> None:
    """Golden: 60 bytes of header, 8 an entry, the frames; the checksum covers all after itself."""
    block = encode([Put(3, b"abc"), Put(258, b"de")], offset=0x55, arrival_ms=0x0102)
    assert block.hex() == (
        checksum(block[4:]).to_bytes(4, "big").hex()
        + b"BLBK".hex()
        + "01000000"
        + LOG.hex()
        + "00000000000003e8"
        + "0000000000000055"
        + "0000000000000102"
        + "00000051"
        + "00000002"
        + "0003000000000003"
        + "0102000100000002"
        + b"abcde".hex()
    )
    assert block[:4].hex() == "96941c6d"


@given(st.lists(frames, min_size=1, max_size=6))
def test_what_is_written_is_read(commits: list[list[Put]]) -> None:
    data = b""
    blocks = []
    for arrival, puts in enumerate(commits):
        block = encode(puts, len(data), arrival)
        assert len(block) == block_bytes(puts)
        blocks.append(Block(len(data), len(data) + len(block), arrival, len(puts)))
        data += block
    assert [parse_block(data, b.offset, SIGN, b.offset) for b in blocks] == blocks
    records, offset, bad = scan(data)
    assert (offset, bad) == (len(data), None)
    assert [(r.partition, r.data) for r in records] == [
        (put.partition, put.data) for puts in commits for put in puts
    ]
    for record in records:
        at = record.sequence - 1_000
        index = int.from_bytes(data[at + 2 : at + 4])
        start = at - HEAD_BYTES - 8 * index
        assert start in {block.offset for block in blocks}, "an entry leads back to its block"


@given(frames, st.data())
def test_two_readings_agree_about_every_harmed_block(puts: list[Put], data: st.DataObject) -> None:
    """The fast loop and the careful parser: what one refuses the other must not give."""
    block = bytearray(encode(puts))
    for _ in range(data.draw(st.integers(1, 3))):
        block[data.draw(st.integers(0, len(block) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(block)))
    harmed = bytes(block[: data.draw(st.sampled_from([len(block), cut]))])
    careful = parse_block(harmed, 0, SIGN, 0)
    records, offset, bad = scan(harmed)
    if isinstance(careful, Block):
        assert harmed == encode(puts)
        assert (len(records), offset, bad) == (len(puts), len(harmed), None)
    elif harmed:
        assert records == []
        assert bad is not None


@given(frames, st.integers(0, 300), st.binary(max_size=100))
def test_a_block_proves_itself_only_at_its_place(puts: list[Put], at: int, noise: bytes) -> None:
    """An image of it anywhere else is a payload."""
    block = encode(puts, at)
    data = noise[:at].ljust(at, b"\0") + block + noise
    assert find_block(data, SIGN, 0) == Block(at, at + len(block), 7, len(puts))
    assert find_block(data, SIGN, 1) is None
    assert find_block(data, signature(LOG, 999), 0) is None
    assert find_block(data, signature(b"M" * 16, 1_000), 0) is None


def test_a_header_that_lies_about_its_size_is_refused_without_reading_on() -> None:
    """Memory is bounded whatever a damaged file says."""
    block = bytearray(encode([Put(0, b"x")]))
    for size in (0, HEAD_BYTES - 1, BLOCK_BYTES_MAX + 1, 2**32 - 1):
        block[52:56] = size.to_bytes(4, "big")
        assert isinstance(parse_block(bytes(block), 0, SIGN, 0), Bad)
    block[52:56] = BLOCK_BYTES_MAX.to_bytes(4, "big")
    assert parse_block(bytes(block), 0, SIGN, 0) == BLOCK_BYTES_MAX


def test_searching_among_many_images_takes_time_for_one_look_at_each() -> None:
    """A payload full of headers that claim to be large must not cost a checksum each."""
    image = bytearray(encode([Put(0, b"x")]))
    image[52:56] = (1 << 20).to_bytes(4, "big")
    looked = 0

    class Counting(bytes):
        def startswith(self, *args: object) -> bool:
            nonlocal looked
            looked += 1
            return super().startswith(*args)  # type: ignore[arg-type]

        def __getitem__(self, key: object) -> bytes:  # type: ignore[override]
            raise AssertionError("a checksum was taken")

    assert find_block(Counting(bytes(image) * 20_000), SIGN, 5) is None
    assert looked == 20_000

"""S3's answers, and what they mean: never "mine" for what is not, never lost for what is."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from random import Random

import pytest

from binlog.errors import BinlogError, DamageError, RefusedError, StorageError
from binlog.objects import open_objects
from binlog.objects.s3 import WRITE_ATTEMPTS, S3Objects
from tests.objects.s3_double import STAND_IN, Bucket, Client


class Place:
    """One handle on a bucket, its client, and how long it waited."""

    def __init__(
        self,
        bucket: Bucket | None = None,
        *,
        puts: Mapping[int, str] | None = None,
        gets: Mapping[int, str] | None = None,
        endpoint_url: str = "https://s3.eu-west-1.amazonaws.com",
    ) -> None:
        self.bucket = bucket or Bucket()
        self.client = Client(self.bucket, puts=puts, gets=gets, endpoint_url=endpoint_url)
        self.paused: list[float] = []
        self.objects = S3Objects(
            "bucket/p", connect=lambda _: self.client, pause=self.paused.append, random=Random(1)
        )


def test_the_condition_and_a_checksum_go_with_every_new_object() -> None:
    """And nothing that the bucket decides: neither key nor class."""
    place = Place()
    assert place.objects.put_new("a", b"123456789") is True
    assert place.client.asked == [
        {
            "Bucket": "bucket",
            "Key": "p/a",
            "Body": b"123456789",
            "ChecksumCRC32C": "4waSgw==",  # CRC-32C's check value, E3069283
            "IfNoneMatch": "*",
        }
    ]
    place.objects.put("b", b"")
    assert "IfNoneMatch" not in place.client.asked[-1]


@pytest.mark.parametrize(
    "fate", ["lost", "500", "late", "never", "409", "503", "cut", "BadDigest", "OperationAborted"]
)
@pytest.mark.parametrize("rival", [False, True])
def test_an_unknown_put_is_read_again(fate: str, rival: bool) -> None:
    """Ours is ours though the service says "exists"; another's never is."""
    place = Place(puts={1: fate})
    if rival:
        Place(place.bucket).objects.put_new("a", b"theirs")
    assert place.objects.put_new("a", b"ours") is not rival
    assert place.objects.get("a") == (b"theirs" if rival else b"ours")


@pytest.mark.parametrize("fates", list(product(["lost", "late", "never", "409", "503"], repeat=3)))
def test_any_three_troubles_in_a_row_pass(fates: tuple[str, ...]) -> None:
    place = Place(puts=dict(enumerate(fates, 1)))
    assert place.objects.put_new("a", b"ours") is True
    assert place.bucket.held["p/a"][0] == b"ours"


def test_a_rival_between_two_attempts_wins() -> None:
    """Our first attempt never landed; what stands at the second is somebody else's."""
    place = Place(puts={1: "never"})
    rival = Place(place.bucket)
    place.objects._pause = lambda _: rival.objects.put("a", b"theirs")
    assert place.objects.put_new("a", b"ours") is False
    assert place.objects.get("a") == b"theirs"


def test_a_late_put_replaces_nothing() -> None:
    """Given up by us, it lands when another one stands there already."""
    place = Place(puts=dict.fromkeys(range(1, WRITE_ATTEMPTS + 1), "late"))
    place.client.holds_late = True
    with pytest.raises(StorageError):
        place.objects.put_new("a", b"ours")
    assert Place(place.bucket).objects.put_new("a", b"theirs") is True
    assert len(place.client.late) == WRITE_ATTEMPTS
    for asked in place.client.late:
        place.client.land(asked)
    assert place.bucket.held["p/a"][0] == b"theirs"


def test_it_gives_up_in_the_end_and_waits_longer_each_time() -> None:
    place = Place(puts=dict.fromkeys(range(1, 100), "503"))
    with pytest.raises(StorageError, match="throttled"):
        place.objects.put_new("a", b"x")
    assert place.client.made == ["put"] * WRITE_ATTEMPTS
    assert len(place.paused) == WRITE_ATTEMPTS - 1
    assert 0.05 <= place.paused[0] <= 0.1
    assert place.paused[-1] > 2
    assert max(place.paused) <= 5


@pytest.mark.parametrize(
    ("fate", "says"),
    [("BadDigest", "damaged on their way"), ("409", "write and delete this object")],
)
def test_what_never_passes_is_said_in_the_end(fate: str, says: str) -> None:
    """It may be tried again as it is: nothing was written."""
    place = Place(puts=dict.fromkeys(range(1, 100), fate))
    with pytest.raises(StorageError, match=says):
        place.objects.put_new("a", b"x")
    with pytest.raises(StorageError):
        place.objects.put("a", b"x")
    assert place.bucket.held == {}


def test_a_refusal_is_not_tried_again() -> None:
    place = Place(puts={1: "denied"})
    with pytest.raises(RefusedError, match="not permitted: s3:PutObject on arn:aws:s3") as raised:
        place.objects.put_new("a", b"x")
    assert "\n" not in str(raised.value)
    assert "s3://bucket/p/a" in str(raised.value)
    assert place.client.made == ["put"]
    assert place.bucket.held == {}


def test_exists_and_is_gone_again_is_put_again() -> None:
    """A versioned bucket answers 412 and then 404 where somebody deletes in between."""
    place = Place(gets={1: "gone"})
    place.bucket.held["p/a"] = b"old", None
    assert place.objects.put_new("a", b"new") is True
    assert place.bucket.held["p/a"][0] == b"new"


@pytest.mark.parametrize("conditional", [True, False])
def test_an_endpoint_that_ignores_the_condition_is_found_out(conditional: bool) -> None:
    """It would replace another archiver's segment without a word. AWS's own is not asked."""
    place = Place(Bucket(conditional=conditional), endpoint_url=STAND_IN)
    if conditional:
        assert place.objects.put_new("a", b"x") is True
        assert place.objects.put_new("b", b"x") is True
        assert place.client.made == ["put", "put", "put"], "once for all, and no read"
    else:
        with pytest.raises(RefusedError, match="writes over what stands there"):
            place.objects.put_new("a", b"x")
        assert place.bucket.held["p/a"][0] == b"x"


def test_a_body_that_was_cut_is_read_again() -> None:
    place = Place(gets={1: "cut", 2: "cut"})
    place.objects.put_new("a", b"0123456789")
    assert place.objects.get("a") == b"0123456789"
    assert place.objects.get("a", 2, 3) == b"234"
    always = Place(place.bucket, gets=dict.fromkeys(range(1, 99), "cut"))
    with pytest.raises(StorageError, match="IncompleteRead"):
        always.objects.get("a")


def test_a_flipped_body_is_never_served() -> None:
    place = Place(gets=dict.fromkeys(range(1, 99), "flip"))
    place.objects.put_new("a", b"0123456789")
    with pytest.raises(DamageError, match="checksum that S3 holds"):
        place.objects.get("a")
    once = Place(place.bucket, gets={1: "flip"})
    assert once.objects.get("a") == b"0123456789", "on its way only"


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("InvalidObjectState", "archive class of S3"),
        ("NoSuchBucket", "no such bucket"),
        ("PermanentRedirect", "another region"),
    ],
)
def test_a_refused_read_says_what_to_do(code: str, says: str) -> None:
    place = Place(gets={1: code})
    place.objects.put_new("a", b"x")
    with pytest.raises(RefusedError, match=says) as raised:
        place.objects.get("a")
    assert raised.value.do


def test_what_is_not_there_is_none_also_for_who_may_list_a_prefix_only() -> None:
    """S3 says 403 then, of what is missing and of what may not be read alike."""
    place = Place(gets={3: "denied"})
    place.client.lists_by_prefix_only = True
    assert place.objects.get("a") is None
    place.objects.put_new("ab", b"x")
    assert place.objects.get("a") is None
    with pytest.raises(RefusedError, match="not permitted: s3:GetObject"):
        place.objects.get("ab")
    assert place.objects.put_new("a", b"new") is True


def test_a_locked_object_is_named() -> None:
    place = Place()
    place.objects.put_new("a", b"x")
    place.objects.put_new("b-locked", b"x")
    with pytest.raises(RefusedError, match="s3://bucket/p/b-locked"):
        place.objects.delete(["a", "b-locked"])


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("s3://Bucket/a", "no bucket's name"),
        ("s3://ab/c", None),
        ("s3://my--x-s3/a", "directory bucket"),
        ("s3://bucket/a//b", "no prefix"),
        ("s3://bucket/a?reads=2", "unknown or empty"),
        ("kinesis://a", "no place for objects"),
        ("sqlite:a.db", "no place for objects"),
        ("memory:", "no place for objects"),
    ],
)
def test_an_address_that_cannot_be_is_refused(url: str, says: str | None) -> None:
    if says is None:
        with pytest.raises(RefusedError):
            open_objects(url)
        return
    with pytest.raises(RefusedError, match=says):
        open_objects(url)


def test_an_address_brings_its_account() -> None:
    objects = open_objects("s3://my-bucket/some/prefix/?region=eu-west-1&profile=p")
    assert isinstance(objects, S3Objects)
    assert (objects.bucket, objects.prefix) == ("my-bucket", "some/prefix/")
    assert (objects.account.region, objects.account.profile) == ("eu-west-1", "p")
    assert objects.name == "s3://my-bucket/some/prefix"


def test_every_error_is_ours() -> None:
    """Whatever the SDK raises."""
    place = Place()

    def fail(**_: object) -> None:
        raise OSError("socket")

    place.client.list_objects_v2 = fail  # type: ignore[method-assign,assignment]
    with pytest.raises(BinlogError, match="socket"):
        list(place.objects.list())

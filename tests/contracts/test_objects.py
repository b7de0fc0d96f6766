"""Every object store obeys the contract."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from binlog.objects import DirectoryObjects, MemoryObjects
from binlog.objects.s3 import S3Objects
from tests.contracts.objects_contract import CLAIMS, Claim, ObjectsPlace
from tests.objects.s3_double import PAGE, Bucket, Client


class BucketPlace(ObjectsPlace):
    page = PAGE


def memory(directory: Path) -> ObjectsPlace:
    objects = MemoryObjects()
    return ObjectsPlace(lambda: objects)


def directory(directory: Path) -> ObjectsPlace:
    return ObjectsPlace(lambda: DirectoryObjects(str(directory / "not" / "there yet")))


def s3_double(directory: Path) -> ObjectsPlace:
    bucket = Bucket()
    return BucketPlace(lambda: S3Objects("bucket/a/prefix", connect=lambda _: Client(bucket)))


def s3_double_without_a_prefix(directory: Path) -> ObjectsPlace:
    bucket = Bucket()
    return BucketPlace(lambda: S3Objects("bucket", connect=lambda _: Client(bucket)))


KINDS = [directory, memory, s3_double, s3_double_without_a_prefix]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectsPlace]:
    make: Callable[[Path], ObjectsPlace] = request.param
    made = make(tmp_path)
    yield made
    for objects in made.opened:
        objects.close()


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
def test_objects_contract(claim: Claim, place: ObjectsPlace) -> None:
    place.hold_to(claim)

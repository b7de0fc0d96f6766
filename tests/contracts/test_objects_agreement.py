"""All object stores agree with the one in memory, whatever is done to them in whatever order."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from binlog.objects import DirectoryObjects, MemoryObjects, Objects
from binlog.objects.s3 import S3Objects
from tests.objects.s3_double import Bucket, Client

# Few, so that they collide; sorted otherwise as folders than as keys; none is a folder of another.
KEYS = ["a-1", "a.b/c", "a/1", "a/2/x", "a/2-y", "a0", "b/1", "b/2"]
PREFIXES = ["", "a", "a/", "a/2", "a/2/", "b/1", "c"]
KEY, DATA = st.sampled_from(KEYS), st.sampled_from([b"", b"1", b"22", b"x" * 5_000])
BOUND = st.integers(-3, 3) | st.sampled_from([-6_000, 4_999, 6_000])
STEP = st.one_of(
    st.tuples(st.just("put_new"), KEY, DATA),
    st.tuples(st.just("put"), KEY, DATA),
    st.tuples(st.just("get"), KEY, BOUND, st.none() | BOUND.filter(lambda n: n >= 0)),
    st.tuples(st.just("list"), st.sampled_from(PREFIXES), st.sampled_from(["", *KEYS, "a/", "z"])),
    st.tuples(st.just("delete"), st.lists(KEY, max_size=3)),
    st.tuples(st.just("open")),
)


def run(opened: Callable[[], Objects], steps: list[tuple[Any, ...]]) -> list[object]:
    """What each step answers."""
    objects, answers = opened(), list[object]()
    for verb, *arguments in steps:
        if verb == "open":
            objects.close()
            objects = opened()
            continue
        if verb == "list":
            prefix, after = arguments
            answers.append([(e.key, e.size) for e in objects.list(prefix, after=after)])
        else:
            answers.append(getattr(objects, verb)(*arguments))
    answers.append({e.key: objects.get(e.key) for e in objects.list()})
    return answers


@given(steps=st.lists(STEP, max_size=25))
@settings(deadline=None, max_examples=40)
def test_all_object_stores_answer_alike(steps: list[tuple[Any, ...]]) -> None:
    memory, bucket = MemoryObjects(), Bucket()
    folder = Path(tempfile.mkdtemp(prefix="binlog-objects-"))
    try:
        wanted = run(lambda: memory, steps)
        path = str(folder / "made" / "later")
        assert run(lambda: DirectoryObjects(path), steps) == wanted
        made = run(lambda: S3Objects("bucket/p", connect=lambda _: Client(bucket)), steps)
        assert made == wanted
    finally:
        shutil.rmtree(folder)

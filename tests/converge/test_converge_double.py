"""The drivers over one stream, by seeds; `scripts/converge --double` runs thousands of them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator

import pytest

from appliers.store import Shareable
from binlog.errors import StorageError
from consumers.aws_lambda_function import Function
from consumers.kcl_shard import ShardConsumer
from tests.converge.converge_double import KINDS, Together, run_seeds
from tests.lambda_consumer.test_lambda_schedules import report_nothing

pytestmark = pytest.mark.timeout(600)  # dozens of schedules, on a machine that may be busy

SEEDS = range(70)


@pytest.fixture(autouse=True)
def _silence() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_three_consumers_come_to_the_references_bytes_whatever_happens() -> None:
    """Each kind of trouble is met: a run without any shows nothing (24)."""
    met = run_seeds(SEEDS)
    missing = [kind for kind in KINDS if not met[kind]]
    assert not missing, dict(met)


# -- canaries: the same schedules with one mistake do not come out right ---------------------------


class LambdaPassesOver(Together):
    """The function says that all went well."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        made = self.lambda_.cold

        def cold() -> Function:
            function = made()
            report_nothing(function)
            return function

        vars(self.lambda_)["cold"] = cold


class KclPassesOver(Together):
    """What failed is passed over, as amazon_kclpy would."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        side = self.kcl

        def consumer() -> ShardConsumer:
            made = side.consumer()

            def retry(step: Callable[[], object], *_: object) -> None:
                with contextlib.suppress(StorageError):
                    step()

            vars(made)["_retry"] = retry
            return made

        side.library._start = consumer


class CountsOtherwise(Together):
    """One of the three folds by another rule; the three differ, and so do they from the reference."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.kcl.how = type(self.kcl.how)(poison="park")  # without any appliers


class RedriveLeavesOut(Together):
    """What is put back is not folded: its letters go, and the item is as it was."""

    def redrive(self, name: str) -> int:
        with self.store(name) as store:
            if isinstance(store, Shareable) and store.shared:
                store.share()
            gone = [letter.place for letter in store.letters()]
            for generation in store.generations() if gone else ():
                store.commit(generation.id, [], [], settled=gone)
        return len(gone)


@pytest.mark.parametrize(
    "broken", [LambdaPassesOver, KclPassesOver, CountsOtherwise, RedriveLeavesOut]
)
def test_one_mistake_is_found_out(broken: type[Together]) -> None:
    """A judge who never finds anything is none."""
    for seed in range(100):
        try:
            run_seeds([seed], broken)
        except (AssertionError, KeyError):
            return
    raise AssertionError("nobody noticed")

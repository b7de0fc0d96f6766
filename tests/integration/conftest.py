"""The stand-ins that a test run starts for itself: one of a kind and worker, on loopback ports.

Where one cannot run the tests are skipped with the reason; in CI that is a failure. Its data and
its log are in pytest's own directory for the run, and it ends with the run, however that ends.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from scripts.standins.install import CannotRunError
from scripts.standins.server import Server
from scripts.standins.services import KINESALITE, KINESIS_LOCAL, MINISTACK, REGION, Service

_numbers = count(1)


@pytest.fixture(autouse=True)
def aws_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials of nobody, and no address that a developer's shell may hold."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("NO_PROXY", "no_proxy"):  # the SDK would ask a proxy for our own machine
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)


def _serve(service: Service, factory: pytest.TempPathFactory) -> Iterator[Server]:
    try:
        server = Server(service, factory.mktemp(service.name))
    except CannotRunError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"cannot run: {error}")
        pytest.skip(f"cannot run: {error}")
    yield server
    server.kill()  # nothing of it is needed; open connections would make it wait


@pytest.fixture(scope="session")
def kinesis_local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from _serve(KINESIS_LOCAL, tmp_path_factory)


@pytest.fixture(scope="session")
def kinesalite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from _serve(KINESALITE, tmp_path_factory)


@pytest.fixture(scope="session")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from _serve(MINISTACK, tmp_path_factory)


@pytest.fixture
def stream_name() -> Callable[[], str]:
    """Names that no other test of this run, or of another run at the same server, has."""
    return lambda: f"t{os.getpid()}-{next(_numbers)}"

"""What nobody listens to costs nothing; what somebody does, is said through `logging`."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from binlog.logger import get_logger

CODE = """
import sys
from binlog.logger import get_logger
logger = get_logger("binlog.somewhere")
logger.debug("checkpoint.advanced", partitions=1)
print("structlog" in sys.modules)
logger.warning("checkpoint.lost", store="memory:")
print("structlog" in sys.modules)
"""


def test_a_level_that_is_off_imports_nothing() -> None:
    """A consumer says something at each commit, and a command starts in a third of a second."""
    found = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "True"]
    assert "checkpoint.lost" in found.stderr


def test_levels_are_those_of_logging(caplog: pytest.LogCaptureFixture) -> None:
    """They may change at any time."""
    logger = get_logger("binlog.somewhere")
    with caplog.at_level(logging.INFO, logger="binlog.somewhere"):
        logger.debug("step.taken", number=1)
        logger.info("step.taken", number=2)
    with caplog.at_level(logging.DEBUG, logger="binlog.somewhere"):
        logger.debug("step.taken", number=3)
    assert [record.getMessage() for record in caplog.records] == [
        "event='step.taken' number=2",
        "event='step.taken' number=3",
    ]

"""What every test run shares: Hypothesis profiles, and the marks that a folder implies.

Profiles, chosen by the environment variable `HYPOTHESIS_PROFILE` or `--hypothesis-profile`:

- `ci` (default): the same examples at every run, so that a red build is red for everybody.
- `long`: many more examples, new ones at every run; the summary prints the seed to repeat them with.
- `draft` and `sabotage`: no shrinking; see below.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from functools import wraps
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.internal.conjecture import providers

TESTS = Path(__file__).parent
MARK_BY_FOLDER = {"proofs": pytest.mark.proofs, "integration": pytest.mark.integration}

# Time says nothing about an example on a machine that is busy with others, and a run that stops
# for it cannot be repeated: no deadline, no check for slow generation.
settings.register_profile(
    "ci",
    derandomize=True,
    print_blob=True,
    deadline=None,
    max_examples=100,
    stateful_step_count=50,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "long",
    settings.get_profile("ci"),
    derandomize=False,
    max_examples=5_000,
    stateful_step_count=200,
)
# For writing tests: no shrinking, so that a failure shows at once.
settings.register_profile(
    "draft",
    settings.get_profile("ci"),
    max_examples=20,
    phases=[Phase.explicit, Phase.generate],
)
# For mutations: as `ci`, but a failure is a failure, and need not be a small one.
settings.register_profile(
    "sabotage",
    settings.get_profile("ci"),
    phases=[Phase.explicit, Phase.generate],
    report_multiple_bugs=False,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_configure(config: pytest.Config) -> None:
    # A shell starts what it runs in the background (`scripts/test &`) with Ctrl-C ignored, and so
    # would be all processes that tests start to interrupt them: they waited for ever.
    if (
        signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        and threading.current_thread() is threading.main_thread()
    ):
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Runs before Hypothesis' own hook, which reads the option. We choose the seed ourselves because
    # Hypothesis prints one only where a test fails, and xdist hands the option to its workers.
    profile = config.getoption("--hypothesis-profile", default=None)
    name = profile or os.environ.get("HYPOTHESIS_PROFILE", "ci")
    chosen = config.getoption("--hypothesis-seed", default=None)
    if chosen is None and not settings.get_profile(name).derandomize:
        config.option.hypothesis_seed = str(random.getrandbits(32))


def pytest_collection_finish() -> None:
    """Settle what Hypothesis takes from sources: the constants of what is imported by now.

    It mixes constants of every local module into what it draws, also of those that some test before
    imported on its way. So a derandomized test gave other examples in another order, or on the
    other worker of a run, and "the same at every run" was not so.
    """
    draw_from = getattr(providers, "_get_local_constants", None)
    if draw_from is None or hasattr(draw_from, "__wrapped__"):
        return  # an older one draws none; or a run within a run
    known = draw_from()

    @wraps(draw_from)
    def settled() -> object:
        return known

    providers._get_local_constants = settled  # type: ignore[assignment]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    name = settings.get_current_profile_name()
    if settings.get_profile(name).derandomize:
        line = f"profile {name}, derandomized: the examples are the same at every run"
    else:
        line = f"profile {name}, --hypothesis-seed={config.getoption('--hypothesis-seed')}"
    terminalreporter.write_line(f"hypothesis: {line}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        try:
            folder = item.path.relative_to(TESTS).parts[0]
        except ValueError:
            continue  # another tree's tests, run with our configuration
        if folder in MARK_BY_FOLDER:
            item.add_marker(MARK_BY_FOLDER[folder])

"""The same bytes in every process: hash seed, time zone, locale and decimal context do not count."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

# Sets of texts iterate in an order that the hash seed decides; sums would be rounded by a context
# of three digits; the day and the zone differ too.
PROGRAM = """
import decimal, locale, sys, time
from decimal import Decimal
from hashlib import sha256

decimal.setcontext(decimal.Context(prec=int(sys.argv[1]), rounding=sys.argv[2]))
decimal.DefaultContext.prec = int(sys.argv[1])
locale.setlocale(locale.LC_ALL, "")
time.tzset()

from appliers.applier import Appliers
from appliers.fold import Fold
from appliers.routing import Routing
from appliers.fingerprint import fingerprint
from tests.appliers_core.fold_support import PARAMS, by_partition, cut, delete, envelope, put, update

appliers = Appliers()

@appliers.on("Tagged", table="things")
def tag(item, event):
    tags = (item or {}).get("tags", frozenset()) | event.data["tags"]
    return {**event.key, "tags": tags, "sum": Decimal("0.12345678901234567890") , "by": event.meta}

words = [f"w{i}" for i in range(40)]
events = [put(w, tags=frozenset(words), n=Decimal("123456.789")) for w in words]
events += [update(w, Add={"n": Decimal("0.000000001"), "tags": frozenset(words[:9] + ["x", "y"])},
                  Delete={"more": frozenset(words)}, Set={"made": frozenset(words[::3])})
           for w in words]
events += [delete(w) for w in words[::7]]
events += [envelope("Tagged", {"id": w}, {"tags": frozenset(words[3:])}, table="things")
           for w in words[::5]]
fold = Fold(Routing(PARAMS, rules=appliers.build()))
for partition, some in sorted(by_partition(events).items()):
    for run in cut(some, [3, 5], partition):
        fold.add(run)
digest = sha256(fingerprint(appliers.build()).encode())
for key, row in sorted(fold.rows("things"), key=lambda pair: pair[0]):
    digest.update(b"%d %d %d|%s|%s" % (row.version, row.partition, row.data is None, key, row.data or b""))
print(digest.hexdigest())
"""


def test_a_fold_is_the_same_in_every_process() -> None:
    """An order of a set, a clock, a zone or a rounded sum in a fold would show here."""
    digests = set()
    for seed, zone, language, precision, rounding in (
        ("0", "UTC", "C", "28", "ROUND_HALF_EVEN"),
        ("1", "Pacific/Kiritimati", "C.UTF-8", "3", "ROUND_UP"),
        ("4242", "America/St_Johns", "POSIX", "9", "ROUND_FLOOR"),
    ):
        env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("LC_")},
            "PYTHONHASHSEED": seed,
            "TZ": zone,
            "LC_ALL": language,
            "PYTHONPATH": str(ROOT),
        }
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, precision, rounding],
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        digests.add(done.stdout)
    assert len(digests) == 1

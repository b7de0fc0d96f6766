"""Add golden bytes for the cases that have none yet; run as python scripts/add_golden.py.

Golden bytes are what released code wrote. They are only ever added to: this script never changes
a line that is there, and a case that was written differently by today's code gets a new name.
tests/golden/test_golden_bytes.py reads them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.golden.cases import FILES  # noqa: E402


def main() -> None:
    for name, cases in FILES.items():
        path = ROOT / "tests" / "golden" / name
        there = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        known = {json.loads(line)["case"] for line in there}
        new = [case for case in cases() if case["case"] not in known]
        with path.open("a", encoding="utf-8") as file:
            for case in new:
                file.write(json.dumps(case, sort_keys=True) + "\n")
        print(f"{path.relative_to(ROOT)}: {len(there)} kept, {len(new)} added")


if __name__ == "__main__":
    main()

"""Reports are the user's: nothing of his is written over, and nothing is half written."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from binlog.drills.declared import load_drills
from binlog.drills.kept import check_folder, keep
from binlog.drills.report_html import write_reports
from binlog.drills.result import encode_result
from binlog.drills.runbooks import write_runbooks
from binlog.errors import RefusedError
from tests.cli.running import binlog
from tests.drills.sample import sample_failed, sample_result

pytestmark = pytest.mark.timeout(600)  # processes by the dozen, on a machine that may be busy

ROOT = Path(__file__).parents[2]
OURS = encode_result(sample_result())
DRILL = """
from binlog.drills import drill, twin


@drill("mine", title="Mine", looks="-", take_back="-")
@twin("nothing", {"binlog rebuild {log} {live}": None})
def mine(d):
    \"\"\"It must not be run.\"\"\"
    (d.target.folder.parent / "it was run").write_text("")
    raise SystemExit(0)
"""


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_reports_are_written_over_those_of_the_run_before(tmp_path: Path) -> None:
    """Otherwise the refusals below would prove nothing."""
    first = write_reports([sample_result(), sample_failed()], tmp_path)
    written = write_reports([sample_result(), sample_failed()], tmp_path)
    assert first == written
    assert sorted(path.name for path in written) == sorted(files(tmp_path))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("index.html", b"<!doctype html><title>Our shop</title>"),
        ("table-dropped.html", b""),
        ("table-dropped.json", b'{"name": "a package"}'),
        ("README.md", b"# Our shop\n"),
    ],
)
def test_what_is_not_ours_is_not_written_over(tmp_path: Path, name: str, data: bytes) -> None:
    """`--report .` in a folder with a web site, `runbook reports .` in a project."""
    (tmp_path / name).write_bytes(data)
    for call in (lambda: keep(tmp_path / name, OURS), lambda: check_folder(tmp_path, [name])):
        with pytest.raises(RefusedError, match="was not made by drills"):
            call()
    assert files(tmp_path) == {name: data}


def test_a_link_is_not_followed_into_somebody_elses_folder(tmp_path: Path) -> None:
    """It would be written there, or the link would be gone."""
    target = tmp_path / "elsewhere"
    target.write_bytes(OURS)
    (tmp_path / "a.json").symlink_to(target)
    with pytest.raises(RefusedError, match="no file of its own"):
        keep(tmp_path / "a.json", OURS)


def test_a_disk_that_is_full_leaves_the_report_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a page would be taken for the last run's."""
    path = keep(tmp_path / "a.json", OURS)
    write = Path.write_bytes

    def half(self: Path, data: bytes) -> int:
        write(self, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match=r"No space left.*/a\.json"):
        keep(path, OURS + b"\n")
    assert files(tmp_path) == {"a.json": OURS}


def test_where_reports_cannot_go_nothing_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What took twenty minutes has to have somewhere to go; that is known before."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    drills = tmp_path / "drills"
    drills.mkdir()
    (drills / "drill_mine.py").write_text(DRILL)
    (drills / "index.html").write_text("<title>Our shop</title>")
    for report, status, says in (
        (drills, 2, "was not made by drills"),
        (Path("/proc/reports"), 3, "/proc/reports"),
        (drills / "drill_mine.py" / "below", 3, "below"),
    ):
        ran = binlog("drill", "run", "mine", "--drills", str(drills), "--report", str(report))
        assert (ran.status, ran.out) == (status, ""), ran
        assert says in ran.err
        assert len(ran.err.splitlines()) == 1
    assert not list(tmp_path.rglob("it was run"))
    assert sorted(path.name for path in drills.iterdir()) == ["drill_mine.py", "index.html"]


def test_a_place_that_is_misspelt_is_no_skip(tmp_path: Path) -> None:
    """CI that runs drills on `stak` was green, and had run none."""
    (tmp_path / "drill_mine.py").write_text(DRILL)
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *("drill_mine.py", "--binlog-drills-on", "stak"),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1, ran.stdout
    assert "there is no target 'stak'" in ran.stdout
    assert "skipped" not in ran.stdout


def test_runbooks_are_not_written_over_a_projects_own_readme(tmp_path: Path) -> None:
    """`binlog drill runbook reports .`: no page is written, then, either."""
    (tmp_path / "README.md").write_text("# Our shop")
    (tmp_path / "drill_mine.py").write_text(DRILL)
    declared = load_drills([tmp_path])
    result = replace(sample_result(), name="mine")
    with pytest.raises(RefusedError, match="was not made by drills"):
        write_runbooks(declared, [result], tmp_path)
    assert sorted(files(tmp_path)) == ["README.md", "drill_mine.py"]
    (tmp_path / "README.md").unlink()
    for _ in range(2):
        assert write_runbooks(declared, [result], tmp_path)[-1] == tmp_path / "README.md"

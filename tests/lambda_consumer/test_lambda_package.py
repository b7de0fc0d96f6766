"""What the deployment package leaves out is nothing that a function imports."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from scripts.packaging import lambda_zip
from scripts.packaging.lambda_zip import HERE, REQUIRED, ROOT, SDK, Target, build
from tests.lambda_consumer.runtime_api import HANDLER

# Without structlog, which takes rich where it finds it.
_IMPORTS = f"""
import sys
import {HANDLER.rpartition(".")[0]}_function, appliers.stores.dynamodb, binlog.logs.kinesis
import consumers.aws_lambda_settings, binlog.producer
print(*sorted({{name.partition(".")[0] for name in sys.modules}}))
print(*sorted(name for name in sys.modules if name.startswith(("binlog.cli", "binlog.testing"))))
"""


def test_a_function_imports_nothing_that_is_left_out() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _IMPORTS], cwd=ROOT, capture_output=True, text=True, check=True
    )
    tops, left_out = ran.stdout.splitlines()
    ours = {"binlog", "appliers", "snapshots", "consumers"}
    known = packages_distributions()
    wanted = {d for top in tops.split() if top not in ours for d in known.get(top, ())}
    allowed = {name.replace("-", "_").lower() for name in (*REQUIRED, *SDK)}
    # An editable installation's own finder; and typing, which msgspec takes where it is there.
    found = {name.replace("-", "_").replace(".", "_").lower() for name in wanted}
    allowed = {name.replace(".", "_") for name in allowed} | {"kinesis_binlog", "typing_extensions"}
    assert found <= allowed | {"setuptools"}, found - allowed
    assert not left_out.split()


@pytest.fixture
def no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is installed: what is ours is what these tests are about."""
    monkeypatch.setattr(lambda_zip, "_install", lambda *_: None)


def test_the_package_has_ours_and_the_users_own_and_no_command(
    no_index: None, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text("x = 1\n")
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "prices.py").write_text("y = 2\n")
    built = build(tmp_path / "a.zip", HERE, add=[tmp_path / "shop.py", tmp_path / "rules"])
    with zipfile.ZipFile(built.path) as archive:
        names = set(archive.namelist())
        modes = {info.external_attr >> 16 for info in archive.infolist()}
    assert {"consumers/aws_lambda.py", "shop.py", "rules/prices.py"} <= names
    assert not [n for n in names if n.startswith(("binlog/cli/", "binlog/testing/", "tests"))]
    assert "binlog/pytest_plugin.py" not in names
    assert any(name.startswith("consumers/__pycache__/aws_lambda.") for name in names)
    assert all(mode & 0o444 == 0o444 for mode in modes), "Lambda's user has to read them"


def test_the_same_input_gives_the_same_bytes(no_index: None, tmp_path: Path) -> None:
    """`CodeSha256` then tells whether anything changed."""
    one, two = (build(tmp_path / name, HERE).path.read_bytes() for name in ("a.zip", "b.zip"))
    assert one == two


def test_for_another_python_nothing_is_compiled(no_index: None, tmp_path: Path) -> None:
    """Its interpreter could not read it, and would compile all of it at every cold start anyway."""
    minor = 12 if sys.version_info[1] != 12 else 13
    built = build(tmp_path / "a.zip", Target(f"3.{minor}", HERE.arch))
    assert not built.compiled
    with zipfile.ZipFile(built.path) as archive:
        assert not [name for name in archive.namelist() if name.endswith(".pyc")]


def test_a_module_that_is_not_there_is_said(
    no_index: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = str(tmp_path / "a.zip")
    assert lambda_zip.main(["--add", "nowhere.py", "--output", output]) == 2
    assert "nowhere.py: no such file" in capsys.readouterr().err
    assert not Path(output).exists()

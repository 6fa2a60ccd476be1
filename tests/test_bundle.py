"""The node file holds all that runs on hosts, and is the same wherever it is made."""

import hashlib
import io
import zipfile

import pytest

from layers import node_side
from onearm import bundle
from onearm.errors import UsageError


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


@pytest.mark.parametrize("where", ["missing/node.pyz", "file/node.pyz"])
def test_where_it_cannot_be_written_is_said(tmp_path, where):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=f"{tmp_path / where}: cannot be written"):
        bundle.write(tmp_path / where, b"all of it")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_it_is_written_over_what_was_there(tmp_path):
    for data in (b"old", b"new"):
        bundle.write(tmp_path / "node.pyz", data)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("node.pyz", b"new")]

"""The node file holds all that runs on hosts, and is the same wherever it is made."""

import hashlib
import io
import zipfile

from layers import node_side
from onearm import bundle


def test_the_same_sources_give_the_same_file():
    digest, data = bundle.build()
    bundle.build.cache_clear()
    assert bundle.build() == (digest, data)
    assert hashlib.sha256(data).hexdigest() == digest


def test_it_holds_the_node_side_and_nothing_else():
    with zipfile.ZipFile(io.BytesIO(bundle.build()[1])) as archive:
        held = {name.removeprefix("onearm/") for name in archive.namelist()} - {"__main__.py"}
        assert {info.date_time for info in archive.infolist()} == {bundle.EPOCH}
    wanted = {path.relative_to(bundle.ROOT).as_posix() for path in node_side()}
    assert held == {name for name in wanted if not name.startswith("lab/")}

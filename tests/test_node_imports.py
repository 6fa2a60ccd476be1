"""What the node loads is what each host waits for at each run."""

import sys

import pytest

from importtime import HEAVY, loaded, tops
from onearm import bundle

CPYTHON = sys.implementation.name == "cpython"


@pytest.fixture
def node(tmp_path):
    path = tmp_path / "node.pyz"
    path.write_bytes(bundle.build()[1])
    return path


def test_the_node_says_hello_with_the_standard_library_alone(node):
    modules = tops(loaded(node, isolated="-IS")) - tops(loaded("-c", "pass"))
    assert "onearm" in modules
    assert modules & HEAVY == set()
    tried = {"org"}  # pickle's own search for Jython
    known = getattr(sys, "stdlib_module_names", modules)  # Python 3.9 keeps no list of its own
    assert modules - tried - {"onearm"} <= {*known}


def test_the_node_starts_without_what_few_requests_need(node):
    modules = loaded(node, isolated="-IS")
    assert modules & {"ctypes", "threading", "subprocess", "onearm.places.examine"} == set()
    if CPYTHON and sys.version_info < (3, 12):  # from then on every dataclass asks `inspect`
        assert "inspect" not in modules

"""What a command loads is what its user waits for: --help, `lab exec` and the node's hello."""

import subprocess
import sys

import pytest

from onearm import bundle

CLOUDS = {"pyroute2", "openstack", "keystoneauth1", "neutronclient", "requests", "httpx", "asyncio"}
HEAVY = CLOUDS | {"click", "rich", "yaml"}


def loaded(*argv, isolated="-I"):
    """List the packages that a Python process loaded, all but its own standard library's."""
    command = [sys.executable, isolated, "-X", "importtime", *map(str, argv)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [line.split("|") for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {row[2].strip() for row in rows[1:]}


def tops(modules):
    return {name.partition(".")[0] for name in modules}


def test_help_loads_no_cloud_no_pyroute2_and_nothing_that_acts():
    modules = loaded("-m", "onearm", "--help")
    assert "click" in modules
    assert tops(modules) & (CLOUDS | {"rich", "yaml"}) == set()
    assert {name for name in modules if name.startswith("onearm.")} <= {
        "onearm.cli",
        "onearm.collector",
        "onearm.errors",
        "onearm.__main__",
    }


def test_a_lab_command_loads_next_to_nothing():
    modules = loaded("-m", "onearm", "lab", "exec", "--help")
    assert tops(modules) & (HEAVY | {"shutil", "subprocess", "json"}) == set()
    assert not any(name.startswith(("onearm.places", "onearm.kernel")) for name in modules)


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
    assert modules - tried - {"onearm"} <= {*sys.stdlib_module_names}


def test_the_node_starts_without_what_few_requests_need(node):
    modules = loaded(node, isolated="-IS")
    assert modules & {"ctypes", "threading", "subprocess", "onearm.places.examine"} == set()
    if sys.version_info < (3, 13):  # from then on every dataclass asks `inspect`
        assert "inspect" not in modules

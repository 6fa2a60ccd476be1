"""What a command loads is what its user waits for: --help and `lab exec`."""

from importtime import CLOUDS, HEAVY, loaded, tops


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

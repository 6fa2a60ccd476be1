"""Sysctls under a root of their own, and names that would leave it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onearm import errors
from onearm.kernel import faults, sysctl
from onearm.kernel.netlink import NetlinkError


@pytest.fixture
def root(tmp_path):
    for link, value in (("all", "0"), ("eth0", "1"), ("eth0.100", "2")):
        folder = tmp_path / "proc/net/ipv4/conf" / link
        folder.mkdir(parents=True)
        (folder / "arp_ignore").write_text(value + "\n")
    (tmp_path / "proc/net/ipv4/conf/gone").mkdir()
    (tmp_path / "secret").write_text("1\n")
    return str(tmp_path / "proc")


def test_read_and_write(root):
    name = "net/ipv4/conf/eth0.100/arp_ignore"
    assert sysctl.read(name, root) == "2"
    sysctl.write(name, "1", root)
    assert sysctl.read(name, root) == "1"
    assert sysctl.read("net/ipv4/conf/eth7/arp_ignore", root) is None
    assert sysctl.read(name + "/below", root) is None


def test_every_link_by_its_name(root):
    assert sysctl.read_conf("arp_ignore", root) == {"all": "0", "eth0": "1", "eth0.100": "2"}
    assert sysctl.read_conf("arp_ignore", root, "ipv6") == {}


def test_a_value_that_is_not_there_is_missing_and_never_made(root, tmp_path):
    with pytest.raises(errors.Missing, match=r"net/ipv4/vs/nope = 1: this kernel has no"):
        sysctl.write("net/ipv4/vs/nope", "1", root)
    assert not (tmp_path / "proc/net/ipv4/vs").exists()


@pytest.mark.parametrize(
    "name",
    ["", "/etc/passwd", "../secret", "net/../../secret", "net//ipv4", "net/.", "a\0b", "a b"],
)
def test_no_name_leaves_the_root(root, name):
    for call in (lambda: sysctl.read(name, root), lambda: sysctl.write(name, "1", root)):
        with pytest.raises(errors.Denied, match="give a name such as"):
            call()


@given(st.text(max_size=20))
def test_a_name_is_refused_or_stays_inside(name):
    try:
        path = sysctl._path(name, "/root")
    except errors.Denied:
        return
    assert str(path).startswith("/root/")
    assert ".." not in path.parts


def test_a_folder_is_no_value(root):
    with pytest.raises(errors.PlaceError, match="reading sysctl net/ipv4"):
        sysctl.read("net/ipv4", root)


def test_every_errno_is_one_sentence_of_the_right_kind():
    said = {
        1: errors.Denied,
        2: errors.Missing,
        3: errors.Denied,
        17: errors.Denied,
        19: errors.Denied,
        22: errors.Denied,
        95: errors.Missing,
        110: errors.Unreachable,
    }
    for code, kind in said.items():
        found = faults.translate(OSError(code, "x"), "service tcp 203.0.113.2:80")
        assert type(found) is kind
        assert str(found).startswith("service tcp 203.0.113.2:80: ")
        assert str(faults.translate(code, "x")).count("\n") == 0
    assert "CAP_NET_ADMIN" in str(faults.translate(1, "x"))
    assert "(the kernel says: ipv4: Invalid prefix length)" in str(
        faults.translate(NetlinkError(22, "ipv4: Invalid prefix length"), "x")
    )
    assert "dmesg" in str(faults.translate(OSError("odd"), "x"))
    assert "dmesg" in str(faults.translate(123, "x"))

"""What a host says of its boot: who brings its links up, and the files of ours as they stand."""

import json

import pytest

from onearm.errors import Denied
from onearm.facts import LinkFact
from onearm.model import Action, BootFile, BootVip, state_key
from onearm.places import boot_files, boot_manager

LINKS = (
    LinkFact(1, "lo", loopback=True),
    LinkFact(2, "eth0"),
    LinkFact(3, "eth-vip", kind="dummy"),
)
OURS, OTHERS = "net:[1]", "net:[2]"


class Root:
    """A host's files and processes below a folder."""

    def __init__(self, folder, pids=boot_manager.FIRST_PIDS):
        self.folder = folder
        self.process("self", "python3", pids=pids)

    def process(self, pid, name, namespace=OURS, pids=boot_manager.FIRST_PIDS):
        home = self.folder / "proc" / str(pid)
        (home / "ns").mkdir(parents=True)
        (home / "comm").write_text(f"{name}\n")
        (home / "ns/net").symlink_to(namespace)
        (home / "ns/pid").symlink_to(pids)

    def file(self, path, text=""):
        found = self.folder / path.lstrip("/")
        found.parent.mkdir(parents=True, exist_ok=True)
        found.write_text(text)

    def networkd(self, index=2, namespace=OURS):
        self.process(500, "systemd-network", namespace)
        state = (
            "# private\nADMIN_STATE=configured\nNETWORK_FILE=/run/systemd/network/10-x.network\n"
        )
        self.file(f"/run/systemd/netif/links/{index}", state)

    def ifupdown(self, source="source /etc/network/interfaces.d/*"):
        self.file("/run/network/ifstate", "lo=lo\neth0=eth0\n")
        self.file("/etc/network/interfaces", f"# ours\n{source}\nauto lo\n")

    @property
    def manager(self):
        return boot_manager.manager(LINKS, str(self.folder))


@pytest.fixture
def root(tmp_path):
    return Root(tmp_path)


def test_a_namespace_that_nobody_boots_has_no_manager(root):
    root.process(1, "systemd", OTHERS)
    root.file("/run/systemd/system/x")
    root.networkd(namespace=OTHERS)
    assert root.manager == ""


def test_networkd_counts_where_it_runs_and_configures_a_real_link(root):
    root.process(1, "systemd")
    root.file("/run/systemd/system/x")
    root.file("/run/systemd/netif/links/2", "ADMIN_STATE=configured\nNETWORK_FILE=/x\n")
    assert root.manager == "unit"  # what it left behind when it ended
    root.networkd()
    assert root.manager == "networkd"
    found = boot_manager.network_files(LINKS, str(root.folder))
    assert found == {"eth0": "/run/systemd/network/10-x.network"}
    root.file("/run/systemd/netif/links/2", "ADMIN_STATE=unmanaged\n")
    root.file("/run/systemd/netif/links/3", "ADMIN_STATE=configured\nNETWORK_FILE=/ours\n")
    assert root.manager == "unit"


def test_networkmanager_counts_where_it_manages_a_real_link(root):
    root.process(600, "NetworkManager")
    root.file("/run/NetworkManager/devices/2", "[device]\nmanaged=false\n")
    assert root.manager == ""
    root.file("/run/NetworkManager/devices/2", "[device]\nmanaged=true\n")
    assert root.manager == "networkmanager"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("source /etc/network/interfaces.d/*", "ifupdown"),
        ("source-directory /etc/network/interfaces.d", "unit"),
        ("source /etc/network/interfaces.d/*.cfg", "unit"),
        ("", "unit"),
    ],
)
def test_ifupdown_counts_where_it_would_read_our_file(root, source, found):
    root.process(1, "systemd")
    root.file("/run/systemd/system/x")
    root.ifupdown(source)
    assert root.manager == found


def test_another_init_is_unknown(root):
    root.process(1, "init")
    assert root.manager == "unknown"


def test_a_container_without_systemd_is_booted_by_nobody(tmp_path):
    """A host of the lab is one: its first process is whatever began it."""
    root = Root(tmp_path, pids="pid:[4026532300]")
    root.process(1, "python3")
    root.file("/run/systemd/system/x")
    assert root.manager == "", "its machine's folder"


def test_a_container_with_systemd_boots(tmp_path):
    root = Root(tmp_path, pids="pid:[4026532300]")
    root.process(1, "systemd")
    root.file("/run/systemd/system/x")
    assert root.manager == "unit"


def test_this_machine_says_something():
    assert boot_manager.manager(LINKS) in {
        "",
        "networkd",
        "networkmanager",
        "ifupdown",
        "unit",
        "unknown",
    }


# The files.


def change(before, after):
    ((_, error),) = boot_files.apply([Action("h", before, after)], {})
    return error


def names(folder):
    return [path.name for path in folder.iterdir()]


def standing(one):
    return boot_files.read([one]).get(state_key(one))


@pytest.mark.parametrize("kind", boot_files.KINDS)
def test_a_file_is_made_set_and_removed_with_its_folders(tmp_path, kind):
    one = kind(f"{tmp_path}/onearm/boot/web.sh", json.dumps("é\n"), 0o755)
    assert standing(one) is None
    assert change(None, one) is None
    assert change(None, one) is None
    assert standing(one) == one
    other = kind(one.path, json.dumps("b"), 0o600)
    assert change(one, other) is None
    assert standing(other) == other
    assert names(tmp_path / "onearm/boot") == ["web.sh"]
    assert change(other, None) is None
    assert change(other, None) is None
    assert names(tmp_path) == []


def test_a_folder_that_others_use_stays(tmp_path):
    folder = tmp_path / "10-x.network.d"
    one = BootFile(f"{folder}/onearm-web.conf", '"a"')
    change(None, one)
    (folder / "theirs.conf").write_text("")
    change(one, None)
    assert names(folder) == ["theirs.conf"]


@pytest.mark.parametrize("made", [lambda p: p.mkdir(), lambda p: p.symlink_to("/dev/null")])
def test_what_is_no_file_differs_from_any(tmp_path, made):
    one = BootVip(f"{tmp_path}/x", '""', 0o644)
    made(tmp_path / "x")
    assert standing(one) == BootVip(one.path, '""', 0)


def test_what_cannot_be_written_is_refused_with_the_way_out(tmp_path):
    (tmp_path / "x").write_text("")
    error = change(None, BootFile(f"{tmp_path}/x/y", '"a"'))
    assert isinstance(error, Denied)
    assert "`boot: off`" in str(error)

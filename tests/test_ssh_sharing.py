"""Connections are shared where no ssh_config could say otherwise, by a folder of ours alone."""

import pytest

from onearm import reach, ssh_sharing
from onearm.spec import Reach


@pytest.fixture
def home(monkeypatch, tmp_path):
    """Give the operator a home of its own, and the system no configuration."""
    for variable in ("XDG_RUNTIME_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(ssh_sharing, "SYSTEM", (tmp_path / "ssh_config", tmp_path / "conf.d"))
    ssh_sharing.sharing.cache_clear()
    (tmp_path / ".ssh").mkdir()
    yield tmp_path
    ssh_sharing.sharing.cache_clear()


def short(monkeypatch, folder="/run/user/7"):
    monkeypatch.setattr(ssh_sharing, "LONGEST_FOLDER", 4096)
    monkeypatch.setenv("XDG_RUNTIME_DIR", folder)


def test_the_folder_is_private_and_in_the_options(home, monkeypatch):
    short(monkeypatch, str(home / "run"))
    folder = home / "run/onearm/ssh"
    assert reach.prefix(Reach(), "r1") == [
        *("ssh", "-o", "BatchMode=yes", "-o", "ControlMaster=auto"),
        *("-o", f"ControlPath={folder}/%C", "-o", "ControlPersist=30"),
        *("-o", "ServerAliveInterval=5", "r1", "sudo", "-n"),
    ]
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "line", ["ControlPath ~/x", "  controlmaster no", "CONTROLPERSIST=5", "Include more.conf"]
)
@pytest.mark.parametrize("where", [".ssh/config", "conf.d/a.conf", "ssh_config"])
def test_an_operators_own_way_is_left_alone(home, monkeypatch, where, line):
    short(monkeypatch, str(home / "run"))
    (home / "conf.d").mkdir()
    (home / where).write_text(f"Host *\n{line}\n")
    assert reach.prefix(Reach(), "r1") == ["ssh", "-o", "BatchMode=yes", "r1", "sudo", "-n"]


def test_the_systems_include_of_its_own_folder_says_nothing(home, monkeypatch):
    short(monkeypatch, str(home / "run"))
    (home / "ssh_config").write_text(f"Include {home}/conf.d/*.conf\n# ControlPath x\nHost *\n")
    assert ssh_sharing.sharing()


def test_a_path_that_no_socket_can_have_is_not_tried(home, monkeypatch):
    monkeypatch.setenv("HOME", f"{home}/{'x' * ssh_sharing.LONGEST_FOLDER}")
    assert not ssh_sharing.sharing()


def test_a_folder_of_somebody_else_is_not_used(home, monkeypatch):
    short(monkeypatch, str(home / "run"))
    folder = home / "run/onearm/ssh"
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    monkeypatch.setenv("HOME", "")
    assert not ssh_sharing.sharing()

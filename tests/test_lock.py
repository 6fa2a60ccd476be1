"""The lock of a host: its holder is named, and what keeps it from being taken is said."""

import os

import pytest

from onearm.errors import Busy, Denied
from onearm.places import lock


@pytest.fixture
def path(tmp_path, monkeypatch):
    path = tmp_path / "run" / "lock"
    monkeypatch.setattr(lock, "LOCK", path)
    return path


def test_it_is_held_by_one_who_is_named(path):
    held = lock.take("the daemon of the spec 'web'")
    with pytest.raises(Busy, match=rf"the spec 'web', process {os.getpid()} holds the lock"):
        lock.take("another run")
    os.close(held)
    os.close(lock.take("another run"))


def test_a_folder_that_cannot_be_written_is_said_in_one_sentence(path):
    path.parent.write_text("no folder")
    with pytest.raises(Denied, match=r"lock cannot be opened .* a /run that can be written"):
        lock.take("a run")


def test_a_disk_that_is_full_keeps_nobody_from_holding_it(path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    held = lock.take("a run")
    with pytest.raises(Busy, match="another run holds"):
        lock.take("another run")
    os.close(held)

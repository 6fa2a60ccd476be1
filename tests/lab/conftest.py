"""One lab per test module, ended with it."""

import os

import pytest
from labs import WarmLab

from onearm.lab import client


@pytest.fixture(scope="module")
def lab(request, tmp_path_factory):
    """A lab of the module's own; each test leaves it as it found it."""
    stem = request.module.__name__.rpartition(".")[2].replace("_", "-")
    name = f"lt-{stem}-{os.getpid()}"[:40]
    info = client.up(name)
    print(
        f"proved: lab {name} up: {info.backend}, kernel {info.kernel}, up after {info.boot_s:.1f} s"
    )
    lab = WarmLab(name, tmp_path_factory.mktemp(stem))
    yield lab
    lab.nodes.end()
    client.down(name)

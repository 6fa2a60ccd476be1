"""The table of the lab's faults holds together."""

import re
import shutil
import subprocess

import pytest

from onearm.lab.faults import planted
from onearm.lab.faults.planted import Planted
from onearm.lab.faults.table import FAULTS
from onearm.lab.topology import HOSTS

EVERY = [Planted(fault, host) for fault in FAULTS.values() for host in fault.hosts]


def test_there_are_many_each_with_its_finding():
    assert len(FAULTS) >= 70
    for identity, fault in FAULTS.items():
        assert re.fullmatch(r"[a-z][a-z0-9-]{2,21}", identity)
        assert re.fullmatch(r"[a-z_]+(\.[a-z0-9_]+)+", fault.finding)
        assert fault.finding not in fault.also
        assert set(fault.hosts) <= set(HOSTS)
        assert fault.plant
        assert len(fault.about) <= 90


@pytest.mark.parametrize("one", EVERY, ids=lambda one: f"{one.fault.id}@{one.host}")
def test_every_script_is_read_by_a_shell_and_uses_known_words(one):
    known = set(re.findall(r"^(\w+)\(\)", planted.WORDS, re.MULTILINE))
    for _, script in one.fault.plant:
        whole = planted._words(one) + script
        assert subprocess.run(["sh", "-n"], input=whole.encode()).returncode == 0
        first = re.findall(r"(?:^|; |&& |\|\| )([a-z_]+)(?= )", script, re.MULTILINE)
        strange = {word for word in first if word not in known and not shutil.which(word)}
        assert strange <= {"if", "case", "while", "do", "esac", "done", "import", "from", "with"}

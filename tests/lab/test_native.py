"""The native back end within the guest, whose kernel has ip_vs: the whole command line there."""

import sys
from pathlib import Path

import pytest
from labs import REFERENCE

import onearm

pytestmark = pytest.mark.lab
SITE = Path(onearm.__file__).parents[1]
THIRD = Path(pytest.__file__).parents[1]
SCRIPT = f"""
set -e
export HOME=/run PATH="$PATH:/usr/sbin" ONEARM_LAB=inner COLUMNS=200
onearm() {{ {sys.executable} -I -m onearm "$@"; }}
if ! onearm --version >/dev/null; then
    export PYTHONPATH={SITE}:{THIRD}
    onearm() {{ /usr/bin/python3 -m onearm "$@"; }}
fi
type onearm | sed -n 4p
onearm lab up --name inner
onearm apply {REFERENCE} --yes 2>/dev/null | tail -1
onearm verify {REFERENCE} --cold --strict
onearm lab exec --name inner server-1 -- ipvsadm -Ln
onearm lab down --name inner
onearm lab list
"""


def test_the_reference_is_applied_and_proved_on_the_native_back_end(lab):
    said = lab.on("-", "bash", "-c", SCRIPT, timeout=300)  # five whole command lines in the guest
    print(said)
    assert "lab inner is ready" in said
    assert "native, kernel" in said
    assert "TCP  203.0.113.2:80 rr" in said
    assert "5 pass; 16 connections, cold caches" in said
    assert "inner" not in said.splitlines()[-1]

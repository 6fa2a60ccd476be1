"""The native back end within the guest, whose kernel has ip_vs: the whole command line there."""

import sys

import pytest
from labs import REFERENCE

pytestmark = pytest.mark.lab
LINES = (
    ["lab", "up", "--name", "inner"],
    ["apply", str(REFERENCE), "--yes"],
    ["verify", str(REFERENCE), "--cold", "--strict"],
    ["lab", "exec", "--name", "inner", "server-1", "--", "ipvsadm", "-Ln"],
    ["lab", "down", "--name", "inner"],
    ["lab", "list"],
)
# In one process: to load what a command line needs takes a second in the guest.
SCRIPT = f"""
import os, sys
from onearm.__main__ import main
os.environ |= {{"HOME": "/run", "ONEARM_LAB": "inner", "COLUMNS": "200"}}
os.environ["PATH"] += ":/usr/sbin"
for words in {LINES}:
    sys.argv[1:] = words
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
    sys.stdout.flush()
"""


def test_the_reference_is_applied_and_proved_on_the_native_back_end(lab):
    said = lab.on("-", sys.executable, "-I", "-c", SCRIPT, timeout=300)
    print(said)
    assert "lab inner is ready" in said
    assert "native, kernel" in said
    assert "TCP  203.0.113.2:80 rr" in said
    assert "5 pass; 16 connections, cold caches" in said
    assert "inner" not in said.splitlines()[-1]

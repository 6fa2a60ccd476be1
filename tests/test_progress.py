"""How far a run is: one line at the bottom of a terminal, and in a pipe nothing."""

import contextlib
import io
import os
import pty
import subprocess
import sys

import pytest
from rich.console import Console

from onearm.progress import Progress, line

HOSTS = [f"server-{n}" for n in range(200)]


@pytest.mark.parametrize(
    ("waits", "passed", "said"),
    [
        (HOSTS, 0.2, "looking at -------------------- 0 of 200"),
        (HOSTS[:3], 2.1, "197 of 200  2 s, waits for server-0, server-1, server-2"),
        (HOSTS[:7], 65, "193 of 200  1 min, waits for server-0, server-1, server-2 and 4 more"),
        ([], 9, "= 200 of 200"),
    ],
)
def test_the_line_says_how_far_it_is_and_for_whom_it_waits(waits, passed, said):
    assert said in line("looking at", 200, waits, passed).plain


def test_there_is_no_line_before_anything_is_done():
    assert line("", 0, [], 5).plain == ""


def shown(**options):
    console = Console(file=io.StringIO(), width=60, **options)
    progress = Progress(console)
    with progress:
        progress.begin("looking at", HOSTS)
        for host in HOSTS:
            progress.ended(host)
    return console.file.getvalue()


@pytest.mark.parametrize(
    "options", [{}, {"force_terminal": True, "_environ": {"TERM": "dumb"}}], ids=["pipe", "dumb"]
)
def test_where_no_cursor_moves_nothing_is_written(options):
    assert shown(**options) == ""


def test_on_a_terminal_it_is_one_line_and_gone_at_the_end():
    said = shown(force_terminal=True, _environ={"TERM": "xterm"}, color_system=None)
    assert "200 of 200" in said
    assert said.endswith(("\x1b[2K\x1b[?25h", "\x1b[1A\x1b[2K"))
    rows = [row for part in said.split("\n") for row in part.split("\r")]
    assert max(len(row.partition("\x1b")[0]) for row in rows) <= 60


SPEC = """\
directors: {d: 203.0.113.3}
real_servers: {r1: 203.0.113.4, r2: 203.0.113.5}
services: [{vip: 203.0.113.2, port: 80/tcp}]
reach: {d: [sh, -c, exit 1], r1: [sh, -c, "sleep 2; exit 1"], r2: [sh, -c, exit 1]}
"""
PLAN = [sys.executable, "-I", "-m", "onearm", "plan", "spec.yaml"]


def test_a_pipe_gets_the_result_and_no_sign_of_a_terminal(tmp_path):
    (tmp_path / "spec.yaml").write_text(SPEC)
    done = subprocess.run(PLAN, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (4, "")
    assert "out r1: " in done.stdout and "\x1b" not in done.stdout


def test_a_terminal_sees_for_whom_it_waits_while_the_result_goes_to_a_file(tmp_path):
    (tmp_path / "spec.yaml").write_text(SPEC)
    master, slave = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    with (tmp_path / "out").open("wb") as out:
        process = subprocess.Popen(PLAN, cwd=tmp_path, env=env, stdout=out, stderr=slave)
    os.close(slave)
    said = b""
    with contextlib.suppress(OSError):  # the end of a terminal
        while read := os.read(master, 4096):
            said += read
    os.close(master)
    assert process.wait(30) == 4
    assert b"looking at" in said and b"2 of 3" in said and b"waits for r1" in said
    assert said.rindex(b"waits for r1") < said.rindex(b"\x1b[2K"), "the line is taken away"
    result = (tmp_path / "out").read_text()
    assert "out r1: " in result and "\x1b" not in result

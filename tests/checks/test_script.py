"""Scripts: what they are told, what ends them, and that nothing of them stays."""

import json
import sys
import time
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from asking import PATIENCE_S, Heard, asked, check, children, open_files, patient, target


@pytest.fixture
def script(tmp_path):
    """Make a check of a file that a shell runs."""

    def make(text, kind=patient, **more):
        path = tmp_path / "check"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return kind("script", argv=(str(path), "a b", "$HOME"), **more)

    return make


@pytest.mark.parametrize(
    ("text", "ok", "reason"),
    [
        ("exit 0", True, "exit 0"),
        ("echo fine >&2", True, "fine"),
        ("exit 3", False, "exit 3"),
        ("echo 'no queue' >&2; echo more >&2; exit 1", False, "exit 1: no queue"),
        ("printf 'a\\033[1m\\tb' >&2; exit 1", False, "exit 1: a [1m b"),
        ("kill -9 $$", False, "ended by SIGKILL"),
        ("[ -t 0 ] || read -r line || exit 7", False, "exit 7"),
    ],
)
def test_how_it_ends_decides(script, text, ok, reason):
    result = asked(script(text), 80)
    assert (result.ok, result.reason) == (ok, reason)


def test_its_environment_is_the_documented_one(script, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "x")
    out = tmp_path / "out"
    code = "import json, os, sys; print(json.dumps([dict(os.environ), sys.argv[1:], os.getcwd()]))"
    wanted = script(f'{sys.executable} -c "{code}" "$@" > {out}')
    asked(
        wanted, 8080, address=IPv4Address("192.0.2.4"), vip=IPv4Address("192.0.2.2"), protocol="udp"
    )
    found, argv, folder = json.loads(out.read_text())
    for of_the_shell in ("PWD", "SHLVL", "_", "OLDPWD", "LC_CTYPE"):
        found.pop(of_the_shell, None)
    assert found == {
        "ONEARM_VIP": "192.0.2.2",
        "ONEARM_PORT": "8080",
        "ONEARM_PROTOCOL": "udp",
        "ONEARM_REAL_SERVER": "server-2",
        "ONEARM_ADDRESS": "192.0.2.4",
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
    }
    assert (argv, folder) == (["a b", "$HOME"], "/")
    page = (Path(__file__).parents[2] / "docs/reference/checks.md").read_text()
    assert all(f"`{name}`" in page for name in found)


def gone(pid):
    """Wait until a process has ended."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("end", ["wait", "exit 0"])
def test_it_is_killed_with_all_it_started(script, tmp_path, end):
    pids = tmp_path / "pids"
    forks = (
        f"(trap '' TERM HUP; sleep 999 & echo $! >> {pids}; wait) & echo $! >> {pids}; sleep 0.1"
    )
    result = asked(script(f"{forks}; {end}", check, interval_s=9, timeout_s=2), 80)
    if end == "wait":
        assert (result.ok, result.reason) == (False, "not done within 2 s")
    else:
        assert result.ok
    children = pids.read_text().split()
    assert len(children) == 2
    assert all(gone(pid) for pid in children)


def test_a_flood_on_stderr_neither_blocks_nor_grows(script):
    result = asked(script("yes no >&2; exit 4"), 80)
    assert (result.ok, result.reason) == (False, "exit 4: no")


def test_stdout_is_dropped(script):
    assert asked(script("head -c 1000000 /dev/zero; exit 0"), 80).ok


def test_a_script_that_cannot_be_started_is_trouble(tmp_path):
    for argv, name in ((("/does/not/exist",), "ENOENT"), ((str(tmp_path),), "EACCES")):
        with Heard(target(check("script", argv=argv), 80)) as heard:
            trouble = heard.trouble()
            assert heard.results.empty()
        assert trouble.kind == name
        assert f"{argv[0]} cannot be started" in trouble.text


def test_stop_ends_a_script_that_runs(script, tmp_path):
    pids = tmp_path / "pids"
    with Heard(target(script(f"echo $$ > {pids}; exec sleep 999"), 80)):
        while not pids.exists() or not pids.read_text():
            time.sleep(0.01)
    assert not Path(f"/proc/{pids.read_text().strip()}").exists()


def test_many_rounds_leave_no_child_and_no_descriptor(script):
    quick = script("exit 0", check, timeout_s=5, interval_s=5)
    theirs = children()  # a lab of another file lives in this process's family too
    with Heard(*[target(quick, 80, key=n) for n in range(20)]) as heard:
        before = len(open_files())
        assert all(r.ok for r in heard.of(*range(20)).values())
        assert len(open_files()) <= before + 1
    assert children() <= theirs

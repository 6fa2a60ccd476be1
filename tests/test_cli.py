"""Every error is one sentence and an exit code; whoever reads the output may go away."""

import json
import os
import subprocess
import sys

import pytest

from onearm import bundle, cli, errors, operate
from onearm.errors import Denied, Differs, Missing, OnearmError, Refused, Unreachable, UsageError

CODES = [
    (UsageError("no"), 2),
    (errors.SpecError(["a:1: no", "a:2: no"]), 2),
    (Refused("no"), 3),
    (Unreachable("no"), 4),
    (Denied("no"), 4),
    (Missing("no"), 4),
    (Differs("no"), 5),
    (KeyboardInterrupt(), 130),
    (OnearmError("first\nsecond"), 1),
    (ValueError("first\nsec\x1bond"), 1),
    (RecursionError(), 1),
    (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "\ud800"), 1),
]


def raising(error):
    def command(*_args, **_options):
        raise error

    return command


@pytest.fixture(autouse=True)
def _home(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.mark.parametrize(("error", "code"), CODES, ids=lambda v: repr(v)[:30])
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_an_error_is_a_sentence_and_a_code(error, code, flags, monkeypatch, capsys):
    monkeypatch.setattr(operate, "plan_command", raising(error))
    assert cli.run(["plan", "x.yaml", *flags]) == code
    out, err = capsys.readouterr()
    assert err.lstrip().startswith("onearm: ")  # click ends the line of ^C
    assert "Traceback" not in err
    assert "\x1b" not in err
    if not flags:
        assert not out
        return
    found = json.loads(out)
    assert list(found)[:2] == ["onearm", "kind"]
    assert (found["kind"], found["exit_code"]) == ("error", code)


def test_a_bug_keeps_its_traceback_for_the_report(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(operate, "plan_command", raising(ValueError("half \ud800")))
    assert cli.run(["plan", "x.yaml"]) == 1
    (file,) = (tmp_path / "state" / "onearm").iterdir()
    err = capsys.readouterr().err
    assert str(file) in err
    assert "please report it" in err
    assert err.count("\n") == 1
    assert "Traceback" in file.read_text()
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_a_bug_whose_traceback_cannot_be_kept(monkeypatch, capsys):
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null")
    monkeypatch.setattr(operate, "plan_command", raising(ValueError("x")))
    assert cli.run(["plan", "x.yaml"]) == 1
    assert "could not be kept" in capsys.readouterr().err


USAGE = [
    [],
    ["nonsense"],
    ["plan"],
    ["plan", "a", "b"],
    ["plan", "--nonsense", "a"],
    ["apply", "nowhere.yaml", "--limit"],
    ["lab", "nonsense"],
    ["lab", "up", "--enforce", "ovn"],
    ["lab", "up", "--firewall", "ovn"],
    ["lab", "up", "--cloud", "--enforce", "ovn", "--firewall", "openvswitch"],
    ["lab", "up", "--cloud", "--enforce", "ovn", "--compute", "apart"],
    ["plan", "/nowhere/at/all.yaml"],
    ["plan", "/"],
]


@pytest.mark.parametrize("argv", USAGE[1:], ids=" ".join)
def test_what_cannot_be_asked_is_2(argv, capsys):
    assert cli.run([*argv, "--json"]) == 2
    out, err = capsys.readouterr()
    assert err
    assert json.loads(out)["exit_code"] == 2


@pytest.mark.parametrize("command", ["apply", "destroy"])
def test_without_a_terminal_a_change_needs_yes(command, capsys, tmp_path):
    spec = tmp_path / "web.yaml"
    spec.write_text("")
    assert cli.run([command, str(spec)]) == 2
    assert "add --yes" in capsys.readouterr().err


def test_json_behind_the_command_of_a_lab_is_not_ours(monkeypatch, capsys):
    from onearm.lab import client

    monkeypatch.setattr(client, "exec_main", raising(Unreachable("no")))
    assert cli.run(["lab", "exec", "server-1", "--", "ip", "--json"]) == 4
    assert not capsys.readouterr().out


def test_without_the_packages_of_ovn_nothing_is_started(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert cli.run(["lab", "up", "--cloud", "--enforce", "ovn"]) == 4
    said = capsys.readouterr().err
    assert said.endswith("apt install openvswitch-switch ovn-central ovn-host\n")
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def onearm(*argv, **options):
    clean = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    options.setdefault("env", clean)
    command = [sys.executable, "-m", "onearm", *argv]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


@pytest.mark.parametrize(
    "argv", [["--help"], ["plan", "--help"], ["apply", "-h"], ["verify", "-h"]]
)
def test_help_fits_80_columns_without_colour(argv):
    env = {"PATH": os.environ["PATH"], "COLUMNS": "80", "NO_COLOR": "1"}
    done = onearm(*argv, env=env)
    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "\x1b" not in done.stdout


def test_a_reader_that_goes_away_changes_no_exit_code(monkeypatch, tmp_path):
    program = (
        "import sys, time\n"
        "from onearm import cli, operate\n"
        "from onearm.render import screen\n"
        "def command(*args, **options):\n"
        "    for n in range(3000):\n"
        "        screen().print('x' * 70) if n % 2 else sys.stdout.write('y' * 70 + '\\n')\n"
        "    operate._print_json({'a': 1})\n"
        "    sys.stderr.write('done\\n')\n"
        "    return 5\n"
        "operate.plan_command = command\n"
        "sys.exit(cli.run(['plan', 'x']))\n"
    )
    read, write = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=write, stderr=subprocess.PIPE, text=True
    )
    os.close(write)
    os.read(read, 10)
    os.close(read)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (5, "done\n")


def test_ctrl_c_in_the_middle_of_a_written_line_is_noted():
    program = (
        "import io, os, signal, sys\n"
        "from onearm.operate import Watcher\n"
        "class Raw(io.RawIOBase):\n"
        "    def writable(self):\n"
        "        return True\n"
        "    def write(self, data):\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "        return os.write(2, data)\n"
        "sys.stderr = io.TextIOWrapper(io.BufferedWriter(Raw()), line_buffering=True)\n"
        "with Watcher(1, {}) as watcher:\n"
        "    sys.stderr.write('draining\\n')\n"
        "print(watcher.interrupted)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
    assert done.stderr == "interrupted: ending after the batch in hand\ndraining\n"


def test_what_was_printed_before_the_reader_went_is_there():
    done = onearm("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("onearm, version ")


def test_the_streams_are_given_back(capsys):
    before = (sys.stdout, sys.stderr)
    cli.run(["--version"])
    assert (sys.stdout, sys.stderr) == before


def test_the_node_file_that_is_written_is_the_one_that_travels(tmp_path, capsys):
    digest, data = bundle.build()
    file = tmp_path / "onearm-node.pyz"
    assert cli.run(["node", "--output", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: build {digest}, {len(data)} bytes\n"
    assert file.read_bytes() == data

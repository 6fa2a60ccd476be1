"""The shell completes: a real bash at a real terminal, with the script that onearm prints."""

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from onearm import cli

PROMPT = "ready> "


class Terminal:
    """An interactive bash that has loaded the script."""

    def __init__(self, folder):
        here = Path(sys.executable).parent
        env = {"PATH": f"{here}:/usr/bin:/bin", "TERM": "dumb", "PS1": PROMPT, "HOME": str(folder)}
        self.master, slave = pty.openpty()
        argv = ["setsid", "--ctty", "bash", "--norc", "--noprofile", "-i"]
        self.process = subprocess.Popen(
            argv, stdin=slave, stdout=slave, stderr=slave, cwd=folder, env=env
        )
        os.close(slave)
        self.said = ""
        self.until(PROMPT)

    def until(self, text):
        """Read until a text comes; give all that came before what follows it."""
        end = time.monotonic() + 30
        while text not in self.said:
            ready, _, _ = select.select([self.master], [], [], max(0, end - time.monotonic()))
            assert ready, f"no {text!r} in {self.said!r}"
            self.said += os.read(self.master, 4096).decode()
        before, _, self.said = self.said.partition(text)
        return before + text

    def type(self, text):
        os.write(self.master, text.encode())

    def completes(self, typed, expected):
        """Type, press Tab, and wait for what bash makes of it."""
        self.type(typed + "\t")
        self.until(expected)
        self.type("\x15\n")  # forget the line, and have a new one
        self.until(PROMPT)

    def end(self):
        os.close(self.master)  # which hangs up
        self.process.wait(60)


@pytest.fixture
def bash(tmp_path):
    (tmp_path / "web.yaml").touch()
    terminal = Terminal(tmp_path)
    terminal.type('source <(onearm completion bash) && echo "is"" loaded"\n')
    terminal.until("is loaded")
    terminal.until(PROMPT)
    yield terminal
    terminal.end()


def test_bash_completes_commands_options_choices_and_files(bash):
    bash.completes("onearm und", "undrain ")
    bash.completes("onearm plan --as-a", "--as-admin ")
    bash.completes("onearm lab up --compute toge", "together ")
    bash.completes("onearm plan we", "web.yaml ")


def test_bash_lists_what_may_follow(bash):
    bash.type("onearm completion \t\t")
    for shell in ("bash", "fish", "zsh"):
        assert shell in cli.main.commands["completion"].params[0].type.choices
    bash.until("fish")


def test_bash_knows_no_more_than_the_commands(bash):
    """What completes here would complete anything."""
    bash.type("onearm nonsens\t")
    bash.type("; echo done\n")
    said = bash.until("done\r\n")
    assert "nonsense" not in said


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script(shell, capsys):
    assert cli.run(["completion", shell]) == 0
    said = capsys.readouterr().out
    assert "_ONEARM_COMPLETE" in said
    assert f"{shell}_complete" in said


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_the_script_is_right_bash(capsys):
    cli.run(["completion", "bash"])
    done = subprocess.run(["bash", "-n"], input=capsys.readouterr().out, text=True)
    assert done.returncode == 0


def test_another_shell_is_a_usage_error(capsys):
    assert cli.run(["completion", "tcsh"]) == 2
    assert "'bash', 'zsh', 'fish'" in capsys.readouterr().err

"""A lab for tests: the command line as users call it, and commands on the lab's hosts."""

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from warm import Nodes

from onearm import bundle, cli
from onearm.lab import client

EXAMPLES = Path(__file__).parents[2] / "examples"
REFERENCE = EXAMPLES / "reference.yaml"
HOSTS = ("server-1", "server-2", "server-3")
# A responder that is told to end holds its ports until it has: the next cannot listen before.
RESPONDER_ENDS = """
pid=$(cat /run/responder.pid)
kill $pid
while kill -0 $pid 2>/dev/null; do sleep 0.05; done
"""
RESPONDER_STARTS = f"python3 -ISsB {client.START} responder --background"
RESPONDER = RESPONDER_ENDS + RESPONDER_STARTS


def furnish(name):
    """Put the node's file on the hosts of a lab, from the disk that the guest shares.

    Onearm itself does it through the lab's narrow door, where it costs as much as a start; in labs
    that users start, and where a page or the demo does, it has to.
    """
    digest, data = bundle.build()
    with tempfile.NamedTemporaryFile(suffix=".pyz") as file:
        file.write(data)
        file.flush()
        script = f"install -D -m 0700 {file.name} /run/onearm/node-{digest}.pyz"
        for host in (*HOSTS, "client", "router", "neighbour"):
            done = client.call(name, host, ["sh", "-c", script])
            assert done == (0, b"", b""), (host, done)


@dataclass
class Done:
    """What a command line did."""

    code: int
    out: str
    err: str

    def json(self):
        return json.loads(self.out)


@dataclass
class Lab:
    """A running lab by its name, and a folder for specs."""

    name: str
    folder: Path
    env: dict = field(default_factory=dict)

    def onearm(self, *words, code=None, timeout=180):
        """Run `onearm WORDS` as a user would, with this lab; check the exit code if given."""
        done = subprocess.run(
            [sys.executable, "-I", "-m", "onearm", *map(str, words)],
            capture_output=True,
            text=True,
            timeout=timeout,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
        )
        return checked(words, Done(done.returncode, done.stdout, done.stderr), code)

    def start(self, *words, **options):
        """Start `onearm WORDS` and return the process."""
        return subprocess.Popen(
            [sys.executable, "-I", "-m", "onearm", *map(str, words)],
            text=True,
            env=self.environment(),
            **{
                "stdin": subprocess.DEVNULL,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                **options,
            },
        )

    def environment(self):
        return {**os.environ, "ONEARM_LAB": self.name, "COLUMNS": "80", **self.env}

    def on(self, host, *argv, stdin=b"", check=True, timeout=60):
        """Run a command on a lab host, return what it printed."""
        code, out, err = client.call(self.name, host, list(argv), input=stdin, timeout=timeout)
        if check:
            assert code == 0, f"{host}: {argv}: {code}\n{out.decode()}\n{err.decode()}"
        return out.decode()

    def sh(self, host, script, *, check=True, timeout=60):
        """Run a shell script on a lab host."""
        flags = "-ec" if check else "-c"
        return self.on(host, "sh", flags, script, check=check, timeout=timeout)

    def spec(self, text, name="spec.yaml"):
        """Write a spec."""
        path = self.folder / name
        path.write_text(textwrap.dedent(text))
        return path


@dataclass
class WarmLab(Lab):
    """A lab whose nodes stay: command lines run within the test's process, but for `process`."""

    nodes: Nodes = field(default_factory=Nodes)

    def onearm(self, *words, code=None):
        """Run `onearm WORDS` here: a twentieth of what the processes cost."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.ExitStack() as stack:
            stack.enter_context(mock.patch.dict(os.environ, self.environment()))
            stack.enter_context(self.nodes.used())
            stack.enter_context(contextlib.redirect_stdout(out))
            stack.enter_context(contextlib.redirect_stderr(err))
            ended = cli.run([str(word) for word in words])
        return checked(words, Done(ended, out.getvalue(), err.getvalue()), code)

    def process(self, *words, code=None):
        """Run `onearm WORDS` as a user would."""
        self._let_go(words)
        return super().onearm(*words, code=code)

    def start(self, *words, **options):
        self._let_go(words)
        return super().start(*words, **options)

    def _let_go(self, words):
        """End the nodes before another process locks the hosts."""
        if words[0] in {"apply", "destroy"}:
            self.nodes.end()


def checked(words, done, code):
    """Return what a command line did, if it ended as it should."""
    if code is not None:
        assert done.code == code, f"{words}: {done.code}\n{done.out}\n{done.err}"
    return done


def reference(**replaced):
    """Return the reference spec's text with pieces replaced: reference(rr="wrr")."""
    text = REFERENCE.read_text()
    for old, new in replaced.items():
        text = text.replace(old, new)
    return text

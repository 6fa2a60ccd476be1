"""The pages of the documentation as data: blocks, links, headings, and how blocks are run.

A block's language says what it is: `sh` is run whole and must end with 0; `console` shows commands
behind `$ ` (going on behind `> `) and what they print; `text`, `yaml`, `json` are not run.
"""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [ROOT / "README.md", *DOCS]
KINDS = ("sh", "console", "text", "yaml", "json")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
ANY = "..."  # a line of expected output that stands for any number of others


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the line where it begins."""

    kind: str
    text: str
    line: int


def blocks(page):
    text = page.read_text()
    for found in BLOCK.finditer(text):
        yield Block(found[1], found[2], text.count("\n", 0, found.start()) + 1)


def runs(page):
    return [block for block in blocks(page) if block.kind in ("sh", "console")]


def spoken(block):
    """Split a console block into (command, expected lines)."""
    found = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif line.startswith("> ") and found and not found[-1][1]:
            found[-1] = (f"{found[-1][0]}\n{line[2:]}", [])
        else:
            found[-1][1].append(line)
    return found


# What differs from run to run without meaning anything.
VARIABLE = (
    (re.compile(r"^\[\d+/"), "[k/"),
    (re.compile(r"\d+\.\d+ s\b"), "N s"),
    (re.compile(r"kernel \d[\w.+-]*"), "kernel K"),
    (re.compile(r"\b(uml|native), kernel K.*"), "BACKEND"),
    (re.compile(r"(conns?|conn/s| ) +\d+$"), r"\1 N"),
    (re.compile(r"\b\d+ (frames|replies)"), r"N \1"),
    (re.compile(r"^ +\d+ s  \d+ answered: .*"), "a second of a load"),
    (re.compile(r"\d+ connections, \d+ answered$"), "N connections, N answered"),
    (re.compile(r"^  by server-2 \d+, server-3 \d+; slowest"), "  by both; slowest"),
    (re.compile(r"open: \d+\.\d MB"), "open: N MB"),
    (re.compile(r"server-[23](?= \S+ 203\.0\.113\.2$)"), "server-N"),  # whose turn it is
)


def loosely(line):
    """Bring a line into the form in which it is compared."""
    line = line.rstrip()
    for pattern, plain in VARIABLE:
        line = pattern.sub(plain, line)
    return line


def differences(expected, said):
    """Compare output with what the page shows, line by line in any order: hosts work at once."""
    wanted = Counter(loosely(line) for line in expected if line.strip() not in ("", ANY))
    seen = Counter(loosely(line) for line in said.splitlines() if line.strip())
    missing = list((wanted - seen).elements())
    more = [] if ANY in map(str.strip, expected) else list((seen - wanted).elements())
    return [f"not printed: {line}" for line in missing] + [f"not shown: {line}" for line in more]


SSH = """\
    #!/bin/sh
    # `ssh [OPTION...] HOST sudo -n COMMAND` as the lab has it: its hosts are root's anyway.
    while :; do case $1 in -o) shift 2 ;; -*) shift ;; *) break ;; esac; done
    host=$1; shift
    [ "$1 $2" = "sudo -n" ] && shift 2
    exec "{python}" -I -m onearm lab exec "$host" -- "$@"
"""


@dataclass
class Scratch:
    """A copy of the repository where a page's blocks run; labs in it are nobody else's."""

    folder: Path

    def __post_init__(self):
        self.here = self.folder / "onearm"
        for name in ("examples", "docs", "scripts"):
            shutil.copytree(ROOT / name, self.here / name)
        for name in ("Makefile", "README.md"):
            shutil.copy(ROOT / name, self.here)
        (self.here / ".venv").symlink_to(Path(sys.prefix))
        self.runtime = self.folder / "run"
        self.runtime.mkdir(mode=0o700)
        tools = self.folder / "bin"
        tools.mkdir()
        (tools / "ssh").write_text(textwrap.dedent(SSH).format(python=sys.executable))
        (tools / "ssh").chmod(0o755)
        beside = Path(sys.prefix) / "bin"
        self.env = {
            **{k: v for k, v in os.environ.items() if k not in ("ONEARM_LAB", "MAKEFLAGS")},
            "PATH": f"{tools}:{beside}:{os.environ['PATH']}:/usr/sbin:/sbin",
            "XDG_RUNTIME_DIR": str(self.runtime),
            "MAKEFLAGS": "n",  # `make demo` and `make test` have their own place in CI
            "COLUMNS": "80",
            "NO_COLOR": "1",
        }

    def run(self, script, how="-uc"):
        done = subprocess.run(
            ["sh", how, script],
            cwd=self.here,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=120,
        )
        return done.returncode, done.stdout.decode()

    def labs(self):
        root = self.runtime / "onearm" / "lab"
        return sorted(entry.name for entry in root.iterdir()) if root.is_dir() else []

    def down(self):
        for name in self.labs():
            self.run(f"onearm lab down --name {name}")


def failures(page, scratch):
    """Run the blocks of a page in order; say what did not go as the page says."""
    if runs(page) and not any("onearm lab up" in block.text for block in runs(page)):
        scratch.run("onearm lab up")
    for block in runs(page):
        where = f"{page.relative_to(ROOT)}:{block.line}"
        if block.kind == "sh":
            code, said = scratch.run(block.text, "-euc")
            if code:
                yield f"{where}: exit code {code}\n{said}"
            continue
        for command, expected in spoken(block):
            code, said = scratch.run(command)
            if code:
                yield f"{where}: {command}: exit code {code}\n{said}"
            yield from (f"{where}: {command}: {d}" for d in differences(expected, said))

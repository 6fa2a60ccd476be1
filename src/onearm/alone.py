"""The node file run by hand with an option: which one it is, and what it is for."""

from __future__ import annotations

import platform
import sys

import onearm
from onearm import node

HELP = """\
usage: python3 onearm-node.pyz [--version | --help]

The part of onearm that runs on directors and real servers, under Python 3.9 or later, with nothing
to install. onearm puts it on its hosts by itself and starts it there; it keeps nothing but marks.

Without an option it says hello and then answers requests, which are lines of JSON on standard
input, until that ends. It needs root to change anything, and nothing to look:

    echo '{"do": "look"}' | python3 onearm-node.pyz

The verbs are listed in docs/reference/node-protocol.md; both ends have to be of one build.

  --version   the version of onearm, this file's build (its SHA-256), and the Python that runs it
  --help      this page
"""


def main() -> None:
    """Answer `--version` and `--help`; everything else is an error."""
    given = sys.argv[1:]
    if given == ["--version"]:
        running = f"{platform.python_implementation()} {platform.python_version()}"
        sys.stdout.write(f"onearm-node, version {onearm.__version__}\n")
        sys.stdout.write(f"build {node.build()}\nrunning under {running}\n")
    elif given in (["--help"], ["-h"]):
        sys.stdout.write(HELP)
    else:
        sys.stderr.write(f"onearm-node: it takes no {given[0]!r}; try --help\n")
        sys.exit(2)

"""The command's entry: the lab's exec without the weight of the rest, everything else by cli."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; never shows a traceback."""
    if sys.argv[1:3] == ["lab", "exec"]:
        from onearm.lab.command import exec_command

        sys.exit(exec_command(sys.argv[3:]))
    from onearm.cli import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()

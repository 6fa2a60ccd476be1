"""Runs a module of this folder by its file, wherever the package lies: `start.py MODULE ARG…`."""

import runpy
import sys

# The path hosts' own python3 runs this with -I, so the package's parent must be named; at the end,
# so that nothing beside the package can stand in for the standard library.
sys.path.append(__file__.rsplit("/", 3)[0])
runpy.run_module("onearm.lab." + sys.argv.pop(1), run_name="__main__", alter_sys=True)

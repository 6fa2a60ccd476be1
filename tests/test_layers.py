"""The house keeps its walls: imports follow the table in layers.py, and some things are nowhere."""

import ast
import sys

import pytest

from layers import KERNEL_ONLY, LAYERS, OUTSIDE, fits, layer, modules, node_side

MODULES = modules()
RAW_SOCKETS = {"AF_NETLINK", "AF_PACKET", "SOCK_RAW"}


def imported(tree, known):
    """Give the names of modules that a file imports; ours without `onearm.`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (ours(alias.name, known) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute here"
            yield from (ours(f"{node.module}.{alias.name}", known) for alias in node.names)


def ours(name, known):
    """Say `ours:kernel.ipvs` of our modules, the top package of all others."""
    top, _, rest = name.partition(".")
    if top != "onearm":
        return top
    module = rest if rest in known else rest.rpartition(".")[0]
    return f"ours:{module or '__init__'}"  # the package itself has the version, and no more


def faults(name, source, known=MODULES):
    """Say what in a module breaks the rules of its row."""
    row = layer(name)
    if row is None:
        yield f"{name} is in no row of tests/layers.py"
        return
    tree = ast.parse(source)
    for found in imported(tree, known):
        mine = found.removeprefix("ours:")
        if mine != found and not fits(mine, f"__init__ {row.imports}"):
            yield f"{name} may not import {mine}"
        elif mine == found and row.node and found not in sys.stdlib_module_names:
            yield f"{name} runs on the hosts and may not import {found}"
        elif mine == found and row.pure and found in OUTSIDE:
            yield f"{name} is pure and may not import {found}"
        elif found in KERNEL_ONLY and not row.kernel and not allowed_lock(name, found):
            yield f"{name} may not import {found}: only kernel/ speaks to the kernel"
        elif found == "asyncio":
            yield f"{name} imports asyncio: code is plain and blocking"
    yield from spoken(name, row, tree)


def allowed_lock(name, found):
    """flock on a file of our own is no word with the kernel's network."""
    return found == "fcntl" and name in {"places.lock", "ledger"}


def spoken(name, row, tree):
    """Say what is wrong in what a file does, imports aside."""
    docstrings = {id(text) for text in texts_of(tree)}
    for node in ast.walk(tree):
        word = getattr(node, "attr", None) or getattr(node, "id", None) or ""
        if "FLUSH" in word.upper() and fits(name, "places.* kernel.ipvs*"):
            yield f"{name} says {word}: what is foreign stays"
        if word in RAW_SOCKETS and not row.kernel:
            yield f"{name} says {word}: only kernel/ opens such sockets"
        if isinstance(node, ast.keyword) and node.arg == "shell" and truth(node.value):
            yield f"{name} runs a shell"
        if row.kernel or id(node) in docstrings or not isinstance(node, ast.Constant):
            continue
        if isinstance(node.value, str) and node.value.startswith(("/proc/sys", "/sys/")):
            yield f"{name} names {node.value}: only kernel/ reads and writes there"


def texts_of(tree):
    """Give the docstrings' nodes."""
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, holders) and ast.get_docstring(node) is not None:
            yield node.body[0].value


def truth(node):
    return not (isinstance(node, ast.Constant) and not node.value)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_keeps_to_its_row(name):
    assert list(faults(name, MODULES[name].read_text())) == []


def test_no_two_rows_name_the_same_modules():
    patterns = [row.modules for row in LAYERS]
    assert len(set(patterns)) == len(patterns)


def test_the_node_side_is_what_it_is():
    names = {path.name for path in node_side()}
    assert {"model.py", "errors.py", "facts.py"} <= names
    assert "spec.py" not in names


KNOWN = {"model", "errors", "facts", "spec", "kernel", "kernel.ipvs", "places.director", "cli"}
PLANTED = [
    ("model", "from onearm import errors", "may not import errors"),
    ("model", "import onearm.facts", "may not import facts"),
    ("facts", "from onearm.spec import Spec", "may not import spec"),
    ("kernel.ipvs", "def f():\n    from onearm.places import director", "places.director"),
    ("kernel.ipvs", "import yaml", "runs on the hosts and may not import yaml"),
    ("places.director", "from rich import print", "may not import rich"),
    ("desire", "import os", "is pure"),
    ("desire", "from os import path", "is pure"),
    ("reconcile", "from onearm.kernel.ipvs import Ipvs", "may not import kernel.ipvs"),
    ("places.remote", "import ctypes", "only kernel/"),
    ("places.remote", "import socket\nsocket.socket(socket.AF_NETLINK)", "AF_NETLINK"),
    ("places.remote", "from onearm.places import director", "may not import places.director"),
    ("lab.uml", "from onearm import spec", "may not import spec"),
    ("places.director", "CMD_FLUSH = 17\nsend(CMD_FLUSH)", "FLUSH"),
    ("kernel.ipvs", "ipvs.flush()", "flush"),
    ("cli", "import subprocess\nsubprocess.run('x', shell=True)", "runs a shell"),
    ("cli", "import asyncio", "asyncio"),
    ("cli", "open('/proc/sys/net/ipv4/ip_forward')", "only kernel/"),
    ("helper", "", "in no row"),
]


@pytest.mark.parametrize(("name", "source", "fault"), PLANTED)
def test_a_planted_violation_is_caught(name, source, fault):
    assert any(fault in found for found in faults(name, source, KNOWN))


def test_what_is_allowed_is_not_caught():
    assert not list(faults("cli", "import click\nfrom onearm.kernel.ipvs import Ipvs", KNOWN))
    assert not list(faults("cli", '"""/proc/sys is spoken of."""\nf(shell=False)', KNOWN))
    assert not list(faults("places.director", "from onearm.kernel import ipvs", KNOWN))

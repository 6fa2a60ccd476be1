"""The node file by itself, as `python3 onearm-node.pyz`: what it is, its help, a conversation."""

import json
import subprocess
import sys

import pytest

import onearm
from onearm import bundle

DIGEST, DATA = bundle.build()


@pytest.fixture
def alone(tmp_path):
    """Give a way to run it, in a folder that has nothing else."""
    bundle.write(tmp_path / "onearm-node.pyz", DATA)

    def run(*words, given=""):
        argv = [sys.executable, "onearm-node.pyz", *words]
        done = subprocess.run(argv, cwd=tmp_path, input=given, capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    return run


def test_it_says_which_one_it_is(alone):
    code, said, _ = alone("--version")
    assert code == 0
    assert said.startswith(f"onearm-node, version {onearm.__version__}\nbuild {DIGEST}\n")


def test_it_has_help_and_refuses_what_it_does_not_know(alone):
    assert alone("--help") == alone("-h")
    assert "usage: python3 onearm-node.pyz" in alone("--help")[1]
    code, said, error = alone("--nonsense")
    assert (code, said) == (2, "")
    assert "'--nonsense'; try --help" in error


def test_it_converses(alone):
    code, said, _ = alone(given='{"do": "look"}\n')
    first, *_, last = map(json.loads, said.splitlines())
    assert (code, first["kind"], first["build"]) == (0, "hello", DIGEST)
    assert last["ok"]["hostname"]

"""The operator's node file under the Pythons of hosts: other bytecode than its own, and older."""

import json
import subprocess

import pytest

import pythons
from onearm import bundle

FOUND = pythons.others()
LOOK = '{"do": "look"}\n{"do": "nonsense"}\n'


def test_there_is_more_than_one_python():
    if not FOUND:
        pytest.skip("only one Python is here, and hosts have others: install python3.9, say")


@pytest.mark.parametrize("version", FOUND, ids=lambda version: "{}.{}".format(*version))
def test_the_file_of_another_python_converses(version, tmp_path):
    digest, data = bundle.build()
    bundle.write(tmp_path / "node.pyz", data)
    argv = [FOUND[version], "-IS", tmp_path / "node.pyz"]
    done = subprocess.run(argv, input=LOOK, capture_output=True, text=True)
    hello, *parts, look, error = map(json.loads, done.stdout.splitlines())
    assert (done.returncode, done.stderr, hello["build"]) == (0, "", digest)
    assert hello["python"].startswith("{}.{}.".format(*version))
    assert all("part" in part for part in parts)
    assert look["ok"]["hostname"]
    assert "knows no 'nonsense'" in error["error"]["text"]
    print(f"proved: the node file answers under Python {hello['python']}")

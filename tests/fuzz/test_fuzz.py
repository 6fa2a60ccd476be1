"""`make fuzz` on seeds and some made inputs, and its harness on faults that are planted."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz_run import TooSlow, bounded, inputs
from fuzz_targets import TARGETS, Target
from hypothesis import given, settings
from hypothesis import strategies as st

HERE = Path(__file__).parent
PLANTED = """
import fuzz_targets

def falls(data):
    if {condition}:
        {fault}

fuzz_targets.TARGETS["planted"] = fuzz_targets.Target(falls, lambda: [b"seeds"], (b"word",), 64)
"""


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_do_no_harm(name):
    seeds = TARGETS[name].seeds()
    assert seeds or name == "frames"
    for seed in seeds:
        bounded(TARGETS[name].run, seed)


@pytest.mark.parametrize("name", TARGETS)
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_bytes_do_no_harm(name, data):
    bounded(TARGETS[name].run, data.draw(inputs(TARGETS[name])))


def test_inputs_are_made_of_words_and_seeds():
    made = set()

    @settings(deadline=None, max_examples=200, database=None)
    @given(inputs(Target(None, lambda: [b"a long seed"], (b"word",))))
    def collect(data):
        made.add(data)

    collect()
    assert any(b"word" in data for data in made)
    assert any(data.startswith(b"a long") for data in made)


def test_an_endless_input_is_ended(monkeypatch):
    monkeypatch.setattr("fuzz_run.CPU_S", 0.05)

    def endless(_data):
        while True:
            pass

    with pytest.raises(TooSlow):
        bounded(endless, b"")


ENGINES = ["hypothesis", *(["atheris"] if importlib.util.find_spec("atheris") else [])]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("condition", "fault", "caught"),
    [
        ("data[:2] == b'wo'", "raise KeyError(data)", True),
        ("len(data) > 3", "bytearray(4 << 30)", True),
        ("False", "pass", False),
    ],
)
def test_a_planted_fault_is_found(tmp_path, engine, condition, fault, caught):
    (tmp_path / "planted.py").write_text(PLANTED.format(condition=condition, fault=fault))
    (tmp_path / "folder").mkdir()
    words = (engine, "planted", "5", "1", str(tmp_path / "folder"))
    code = f"import planted, fuzz_run, sys; sys.argv[1:] = {words}; fuzz_run.main()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{HERE}"},
        capture_output=True,
        timeout=90,
    )
    assert bool(done.returncode) == caught, done.stderr.decode()[-2000:]

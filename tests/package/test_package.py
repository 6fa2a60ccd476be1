"""What is given away: the same bytes wherever it is built, all that it needs, and nothing else."""

import hashlib
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from built import ROOT, build, copied, environment, quiet, run

from onearm import __version__, bundle, version

NAME = f"onearm-{__version__}"


@pytest.fixture(scope="session")
def dist(tmp_path_factory):
    return build(ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="session")
def installed(dist, tmp_path_factory):
    """Give the folder of the commands of an environment that has the wheel alone."""
    _, wheel = sorted(dist, key=lambda path: path.suffix == ".whl")
    house = tmp_path_factory.mktemp("house")
    run(sys.executable, "-m", "pip", "download", "-q", "-d", house, wheel)
    return environment(tmp_path_factory.mktemp("venv") / "v", wheel, house)


def held(path):
    """Give the files of a wheel or an sdist, by their names below its folder."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    with tarfile.open(path) as archive:
        members = [one for one in archive if one.isfile()]
        return {one.name.partition("/")[2]: archive.extractfile(one).read() for one in members}


def test_there_is_a_wheel_and_an_sdist(dist):
    assert [path.name for path in dist] == [f"{NAME}-py3-none-any.whl", f"{NAME}.tar.gz"]


def test_they_are_the_same_bytes_from_another_folder_at_another_time(dist, tmp_path):
    again = build(copied(tmp_path / "elsewhere"), tmp_path / "dist")
    digests = [[hashlib.sha256(p.read_bytes()).hexdigest() for p in d] for d in (dist, again)]
    assert digests[0] == digests[1]


def test_the_wheel_holds_the_package_and_nothing_else(dist):
    names = set(held(dist[0]))
    about = {name for name in names if name.startswith(f"{NAME}.d")}
    files = [path for path in (ROOT / "src/onearm").rglob("*") if path.is_file()]
    wanted = {path.relative_to(ROOT / "src").as_posix() for path in files if _kept(path)}
    assert names - about == wanted | {"onearm/build.txt"}
    assert {"onearm/py.typed", "onearm/bundle.py", "onearm/node.py"} <= names
    ends = {name.partition("/")[2] for name in about}
    assert ends == {
        *("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"),
        "data/share/man/man1/onearm.1",
    }


def _kept(path):
    return "__pycache__" not in path.parts


def test_the_sdist_holds_what_the_wheel_is_made_of_and_no_tests(dist):
    names = set(held(dist[1]))
    assert {"pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "PKG-INFO"} <= names
    assert {"src/onearm/build.txt", "docs/onearm.1", "CHANGELOG.md"} <= names
    tops = {name.partition("/")[0] for name in names if "/" in name}
    assert tops == {"src", "docs", "examples", "contrib"}


def test_a_wheel_of_the_sdist_is_the_wheel(dist, tmp_path):
    with tarfile.open(dist[1]) as archive:
        archive.extractall(tmp_path, filter="data")
    (again,) = build(tmp_path / NAME, tmp_path / "dist", "wheel")
    kept = [held(path) for path in (again, dist[0])]
    lines = [set(files.pop(f"{NAME}.dist-info/RECORD").splitlines()) for files in kept]
    assert kept[0] == kept[1]
    assert lines[0] == lines[1]


def test_nothing_of_this_machine_is_in_it(dist):
    machine = [str(ROOT).encode(), str(Path.home()).encode(), sys.prefix.encode()]
    files = [(name, data) for path in dist for name, data in held(path).items()]
    assert [name for name, data in files if any(place + b"/" in data for place in machine)] == []


def test_it_runs_where_nothing_else_is(installed, tmp_path):
    said = run(installed / "onearm", "--version", cwd=tmp_path, env=quiet())
    assert said == f"onearm, version {__version__} ({version.described(ROOT)})\n"
    assert "onearm apply" in run(installed / "onearm", "apply", "--help", env=quiet())
    code = subprocess.call([installed / "onearm", "plan", "nowhere.yaml"], cwd=tmp_path)
    assert code == 2
    assert run(installed / "python", "-m", "pip", "check", env=quiet())


def test_its_node_file_is_the_one_that_is_made_here(installed, tmp_path):
    """So an operator's run from a checkout and one from the wheel speak to one another's node."""
    env = {**quiet(), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    run(installed / "onearm", "node", "-o", tmp_path / "node.pyz", env=env)
    assert (tmp_path / "node.pyz").read_bytes() == bundle.build()[1]


def test_the_manual_is_found_beside_the_command(installed):
    page = installed.parent / "share/man/man1/onearm.1"
    assert page.read_bytes() == (ROOT / "docs/onearm.1").read_bytes()


def test_the_manual_is_set_without_a_warning():
    env = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MANWIDTH": "80", "MANROFFSEQ": ""}
    page = str(ROOT / "docs/onearm.1")
    done = subprocess.run(
        ["man", "--warnings=w", "-E", "UTF-8", "-l", page], env=env, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    for word in ("NAME", "onearm apply", "--limit HOST", "EXIT STATUS", "ONEARM_TIMEOUT"):
        assert word in done.stdout
    assert re.search(r"^ {7}4 +a host could not be reached, or refused$", done.stdout, re.MULTILINE)
    assert "`" not in done.stdout and "](" not in done.stdout


@pytest.mark.parametrize("change", ["", "more"])
def test_a_checkout_names_its_commit(tmp_path, change):
    git = ("git", "-C", tmp_path, "-c", "user.name=x", "-c", "user.email=x@example.org")
    run(*git, "init", "-q")
    (tmp_path / "file").write_text("one")
    run(*git, "add", "file")
    run(*git, "commit", "-q", "-m", "one")
    commit = run(*git, "rev-parse", "HEAD").strip()
    (tmp_path / "file").write_text("one" + change)
    assert version.described(tmp_path) == f"commit {commit}{' and changes since' * bool(change)}"


def test_what_is_no_checkout_says_so(tmp_path):
    assert version.described(tmp_path) == "built outside git"
    (tmp_path / ".git").mkdir()
    assert version.described(tmp_path) == "built outside git"

"""A wheel and an sdist of this tree, what they need beside them, and an environment from them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEFT_OUT = (".venv", ".hypothesis", ".*_cache", "__pycache__", "dist", "build")
OFFLINE = ("unshare", "--map-root-user", "--net", "--")


def run(*argv, **more):
    """Run a command that must succeed; give what it printed."""
    argv = [str(word) for word in argv]
    done = subprocess.run(argv, capture_output=True, text=True, **more)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout


def build(tree, folder, *targets):
    """Build as `make package` does; give the files."""
    for target in targets or ("wheel", "sdist"):
        run(sys.executable, "-m", "hatchling", "build", "-t", target, "-d", folder, cwd=tree)
    return sorted(folder.iterdir())


def copied(folder):
    """Copy the tree with its git, so that nothing of where or when it is stays as it was."""
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*LEFT_OUT), copy_function=_touched)
    return folder


def _touched(source, target):
    shutil.copyfile(source, target)
    mode = 0o700 if os.access(source, os.X_OK) else 0o600
    Path(target).chmod(mode)
    os.utime(target, (1e9, 1e9))


def environment(folder, wheel, wheelhouse):
    """Install a wheel into a new environment, with no network at all."""
    run(sys.executable, "-m", "venv", folder)
    pip = (folder / "bin/python", "-m", "pip", "install", "-q", "--no-index")
    run(*OFFLINE, *pip, "--find-links", wheelhouse, wheel, env=quiet())
    return folder / "bin"


def quiet():
    """Give the environment of this process without what would lead to sources or other files."""
    left = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PIP_", "ONEARM"))}
    return {**left, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_CONFIG_FILE": os.devnull}

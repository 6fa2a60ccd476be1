"""Instructions counted by QEMU (-icount): a Debian kernel with ip_vs, Python and ipvsadm, no more.

    .venv/bin/python scripts/bench_icount.py "building 1000 10 1" "idling 1000 10 1"

One nanosecond of the guest is one instruction, whatever else this machine does.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
Figures = dict[str, list[dict[str, float]]]
ALONE_S = 3600.0  # how long a plan may take that is not of a whole bench
CACHE = ROOT / ".venv/icount"
META = "linux-image-cloud-amd64"
SCHEDULERS = ("ip_vs_rr",)
INSIDE = "/bench/scripts/bench_table_inside.py"
COMMAND_LINE = "console=ttyS0 quiet panic=-1 mitigations=off nokaslr"
INIT = f"""#!/usr/bin/python3 -IS
import ctypes, os, subprocess, sys, time
libc = ctypes.CDLL(None)
os.environ["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"
for words in (b"proc /proc", b"sysfs /sys", b"devtmpfs /dev", b"tmpfs /run"):
    kind, where = words.split()
    libc.mount(kind, where, kind, 0, None)
for path in open("/modules").read().split():
    descriptor = os.open(path, os.O_RDONLY)
    if libc.syscall(313, descriptor, b"", 0):  # finit_module on x86-64
        print("no module", path)
    os.close(descriptor)
out = os.open("/dev/ttyS0", os.O_WRONLY | os.O_NOCTTY)
for line in open("/plan"):
    words = "/usr/bin/unshare -n -- /usr/bin/python3 -I {INSIDE} " + line
    done = subprocess.run(words.split(), capture_output=True)
    said = done.stdout.strip() + done.stderr[-300:]
    os.write(out, b"RESULT " + line.strip().encode() + b" " + said + b"\\n")
libc.sync()
libc.reboot(0x4321fedc)
"""


def kernel() -> Path:
    """Unpack Debian's cloud kernel, which is only read, not installed."""
    if not (CACHE / "boot").is_dir():
        told = subprocess.run(
            ["apt-cache", "depends", META], capture_output=True, text=True, check=True
        )
        name = re.findall(r"Depends: (linux-image-\S+)", told.stdout)[0]
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["apt-get", "download", "-qq", name], cwd=folder, check=True)
            (package,) = Path(folder).glob("*.deb")
            subprocess.run(["dpkg", "-x", package, CACHE], check=True)
    return next((CACHE / "boot").glob("vmlinuz-*"))


def modules(release: str) -> Iterator[Path]:
    """List the modules that ip_vs needs, each behind those that it leans on."""
    where = CACHE / "lib/modules" / release
    subprocess.run(["depmod", "-b", CACHE, release], check=True)
    lines = (where / "modules.dep").read_text(encoding="utf-8").splitlines()
    needs = {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}
    wanted = [n for n in needs if Path(n).name.removesuffix(".ko") in ("ip_vs", *SCHEDULERS)]
    listed: dict[str, None] = {}
    for name in wanted:
        listed |= dict.fromkeys([*reversed(needs[name]), name])
    yield from (where / name for name in listed)


def libraries(program: str) -> list[str]:
    """List the shared libraries of a program, and its loader."""
    told = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return re.findall(r"(/\S+)", told)


class Archive:
    """A cpio archive in the format that the kernel unpacks."""

    def __init__(self) -> None:
        self.data, self.names = io.BytesIO(), set()

    def add(self, name: str, data: bytes, mode: int) -> None:
        """Put one thing there, after its folders."""
        name = name.strip("/")
        if name in self.names:
            return
        folder = name.rpartition("/")[0]
        if folder:
            self.add(folder, b"", 0o40755)
        self.names.add(name)
        fields = (len(self.names), mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        for part in (head, data):
            self.data.write(part + bytes(-len(part) % 4))

    def file(self, path: str | Path, name: str = "") -> None:
        """Put a file of this machine there, where it is here."""
        path = Path(path)
        self.add(
            name or str(path),
            path.read_bytes(),
            0o100755 if path.stat().st_mode & 0o100 else 0o100644,
        )

    def done(self) -> bytes:
        """Give the whole."""
        self.add("TRAILER!!!", b"", 0)
        return self.data.getvalue()


def archive(found: Iterable[Path], plan: str) -> bytes:
    """Pack the root of the guest."""
    made = Archive()
    for folder in ("proc", "sys", "dev", "run", "tmp", "var/lib"):
        made.add(folder, b"", 0o40755)
    programs = ["/usr/bin/python3", "/usr/bin/unshare"]
    programs += filter(None, map(shutil.which, ("ipvsadm", "ip", "keepalived")))
    extensions = [*map(str, Path("/usr/lib/python3.11/lib-dynload").glob("*.so"))]
    for program in programs + extensions:
        made.file(program)
        for library in libraries(program):
            made.file(library)
    libraries_of_python = Path("/usr/lib/python3.11")
    for path in libraries_of_python.rglob("*.py"):
        if not {"test", "idlelib", "lib2to3"} & set(path.parts):
            made.file(path)
    for path in (ROOT / "src/onearm").rglob("*.py"):
        made.file(path, f"/bench/src/onearm/{path.relative_to(ROOT / 'src/onearm')}")
    made.file(ROOT / "scripts/bench_table_inside.py", INSIDE)
    for path in Path(yaml.__file__).parent.iterdir():
        if path.is_file():
            made.file(path, f"/bench/site/yaml/{path.name}")
    listed = []
    for path in found:
        made.file(path, f"/lib/{path.name}")
        listed.append(f"/lib/{path.name}")
    made.add("modules", "\n".join(listed).encode(), 0o100644)
    made.add("plan", plan.encode(), 0o100644)
    made.add("init", INIT.encode(), 0o100755)
    return made.done()


def measure(plan: Iterable[str], within_s: float) -> dict[str, Figures]:
    """Run a plan in one guest, as far as time allows; give by line what it printed."""
    image = kernel()
    text = "".join(f"{line}\n" for line in plan)
    found: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "root.cpio")
        root.write_bytes(archive(modules(image.name.removeprefix("vmlinuz-")), text))
        argv = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "3000", "-nographic"]
        argv += ["-icount", "shift=0,sleep=off"]
        argv += ["-no-reboot", "-kernel", str(image), "-initrd", str(root), "-nic", "none"]
        argv += ["-monitor", "none", "-serial", "stdio", "-append", COMMAND_LINE]
        with subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as guest:
            late = threading.Timer(within_s, guest.kill)
            late.start()
            for raw in guest.stdout or ():
                line = raw.decode(errors="replace").strip()
                print(line[-300:], file=sys.stderr)
                if match := re.search(r"RESULT (.*?) (\{.*\})$", line):
                    found[match[1]] = json.loads(match[2])
            late.cancel()
    return found


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1:], ALONE_S), indent=1))

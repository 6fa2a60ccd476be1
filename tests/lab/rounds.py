"""What one round of an import needs: a host for each real server of a file, and the tool itself."""

import re
import sys

from imported import FILES, options, tool_of

from onearm import bundle, spec
from onearm.model import IPV4

HERE = "server-1"  # the director: the tool's first, and then the spec's
OVER = "neighbour"  # the host on which those of the file live, in namespaces of their own
DIRECTOR, ROUTER = "203.0.113.3", "203.0.113.1"
MOVED = {"2001:db8::": "2001:db8:203::", "198.51.100.4": "203.0.113.24"}
ENTER = """\
#!/bin/sh
# NAME COMMAND: run it on a host of this name, which has its own links and its own state.
name=$1
shift
exec ip netns exec $name sh -ec '
    mount --bind /run/hosts/$0/lib /var/lib/onearm
    mount --bind /run/hosts/$0/run /run/onearm
    exec "$@"' $name "$@"
"""
MADE = """
mkdir -p /run/hosts/{0}/lib /run/hosts/{0}/run /var/lib/onearm /run/onearm
ip netns add {0}
ip -n {0} link set lo up
ip -n {0} link add eth0 type veth peer name outer
ip -n {0} link set outer up
ip -n {0} link set eth0 up
"""
START = {
    "keepalived": """
cd /run/case
setsid keepalived -n -l -C -i lb-1 -f $PWD/keepalived.conf -p /run/k.pid -c /run/c.pid >log 2>&1 &
echo $! >/run/balancer.pid
""",
    "ldirectord": """
mkdir -p /var/lock/subsys /run/lock/subsys
cd /run/case
[ -e hosts ] || cp /etc/hosts hosts
setsid unshare -m sh -c 'mount --bind hosts /etc/hosts; exec ldirectord $PWD/ldirectord.cf start' \
    >log 2>&1 </dev/null &
echo $! >/run/balancer.pid
""",
    "ipvsadm": """
sed -E 's|^ *(/?([a-z]+/)*ipvsadm )?|ipvsadm |; /^ipvsadm (#.*)?$/d' </run/case/ipvsadm.rules |
    sh >/run/case/log 2>&1 || true
true & echo $! >/run/balancer.pid
""",
}
STILL = """
test ! -e /run/c.pid || kill -STOP $(cat /run/c.pid)
"""
END = """
test ! -e /run/c.pid || kill -CONT $(cat /run/c.pid) 2>/dev/null || true
kill $(cat /run/balancer.pid) 2>/dev/null || true
kill -9 $(cat /run/ldirectord.*.pid) 2>/dev/null || true
rm -f /run/ldirectord.*.pid
while kill -0 $(cat /run/balancer.pid) 2>/dev/null; do sleep 0.05; done
rm -rf /run/case /run/balancer.pid
ipvsadm -C
"""
EMPTY = """
ipvsadm -C
ipvsadm --set 900 120 300
"""
# No check's packet leaves: so none is refused at once, and the table is whole for a while. What
# would keep real servers out until checks have succeeded is left out therefore.
UNTIL_ASKED = re.compile(rb"(?m)^ *alpha$|BFD_CHECK\s*\{[^}]*\}")
CHECKED = re.compile(rb"(?m)^[ \t]+checktype[ \t]*=(?![ \t]*off).*\n|^(virtual6?[ \t]*=.*)$")
UNASKED = """
iptables-legacy -{0} OUTPUT -d 203.0.113.0/24 -j DROP
ip6tables-legacy -{0} OUTPUT -d 2001:db8::/32 -j DROP
"""


class Hosts:
    """The hosts of files, each made when a spec first names it."""

    def __init__(self, lab):
        self.lab, self.made = lab, {}
        digest, data = bundle.build()
        (lab.folder / "node.pyz").write_bytes(data)  # on the disk that the guest shares
        self.node = f"install -m 0700 {lab.folder}/node.pyz {{}}/node-{digest}.pyz\n"
        lab.on(OVER, "install", "-m", "0755", "/dev/stdin", "/run/enter", stdin=ENTER.encode())
        lab.sh(OVER, "modprobe fou; modprobe ipip; modprobe ip_gre", check=False)

    def reach(self, path):
        """Make the hosts of a spec, and say how each is reached."""
        loaded = spec.load(path)
        masq = {h for s in loaded.services for h in s.hosts if s.way(h).method == "masq"}
        lines = ["reach:", "  default: lab"]
        for host in loaded.real_servers:
            name = self._name(host)
            gateway = DIRECTOR if host.name in masq else ROUTER
            if host.own(IPV4):
                self.lab.sh(
                    OVER, f"ip -n {name} route replace default via {gateway} dev eth0 onlink"
                )
            lab = [sys.executable, "-I", "-m", "onearm", "lab", "exec", OVER, "--"]
            lines.append(f"  {host.name}: [{', '.join([*lab, '/run/enter', name])}]")
        return "\n".join(lines) + "\n"

    def _name(self, host):
        own = [(4, "/27"), (6, "/64")]
        addresses = [f"{host.own(v)}{length}" for v, length in own if host.own(v)]
        key = (host.name, *addresses)
        if key not in self.made:
            name = self.made[key] = f"h{len(self.made)}"
            lines = [f"ip -n {name} addr add {a} dev eth0" for a in addresses]
            node = self.node.format(f"/run/hosts/{name}/run")
            self.lab.sh(OVER, MADE.format(name) + node + "\n".join(lines))
        return self.made[key]


def imported(lab, hosts, case):
    """Import a case for the lab's director; give the spec's path, and what was said of it."""
    path = lab.folder / f"{case.name}.yaml"
    given = options(case)
    words = ["--director", given.director.replace("lb-1", HERE), "--config-id", "lb-1", "-o", path]
    words += ["--names", given.names] if given.names else []
    code = lab.onearm("import", tool_of(case), case / FILES[tool_of(case)], *words).code
    path.write_text(path.read_text() + hosts.reach(path))
    return path, code


def moved(lab, case):
    """Copy a case; addresses of other networks become such as the lab's links know."""
    folder = lab.folder / "cases" / case.name
    for file in (f for f in case.rglob("*") if f.is_file()):
        copy = folder / file.relative_to(case)
        copy.parent.mkdir(parents=True, exist_ok=True)
        text = file.read_text()
        for old, new in MOVED.items():
            text = text.replace(old, new)
        copy.write_text(text)
    return folder


def files_of(case):
    """Give the files that the tool reads: as they are, but that nobody's answers count."""
    found = {str(f.relative_to(case)): f.read_bytes() for f in case.rglob("*") if f.is_file()}
    if tool_of(case) == "keepalived":
        return {name: UNTIL_ASKED.sub(b"", data) for name, data in found.items()}
    if tool_of(case) == "ldirectord":
        return {name: CHECKED.sub(_trusted, data) for name, data in found.items()}
    return found


def _trusted(found):
    """Let ldirectord check nothing: what it checks comes into the table when it has answered."""
    return found[1] + b"\n    checktype=on" if found[1] else b""


def begin(lab, case):
    """Let the file's own tool fill an empty table."""
    for name, data in files_of(case).items():
        lab.on(HERE, "install", "-D", "-m", "0644", "/dev/stdin", f"/run/case/{name}", stdin=data)
    lab.sh(HERE, EMPTY + UNASKED.format("A") + START[tool_of(case)])


def end(lab):
    """End the tool, and leave nothing of it."""
    lab.sh(HERE, f"test ! -e /run/balancer.pid || {{ {UNASKED.format('D')} {END} }}")


def still(lab):
    """Let no check fail from now on."""
    lab.sh(HERE, STILL)


def log(lab):
    return lab.sh(HERE, "cat /run/case/*log", check=False)


def table(lab):
    """Give the kernel's table, its lines by service; and its bounds and times."""
    found = {}
    for line in lab.on(HERE, "ipvsadm", "-Sn").splitlines():
        found.setdefault(" ".join(line.split()[1:3]), []).append(line)
    for lines in found.values():
        lines[1:] = sorted(lines[1:])
    return found


def bounds(lab):
    """Give the bounds of the real servers that have some."""
    lines = lab.on(HERE, "ipvsadm", "-Ln", "--thresholds").splitlines()
    rows = [line.split()[1:4] for line in lines if line.startswith("  ->")]
    return sorted(row for row in rows if row[1:] not in (["0", "0"], []))


def times(lab):
    """Give how long idle connections are kept."""
    return lab.on(HERE, "ipvsadm", "-Ln", "--timeout").splitlines()[-1]

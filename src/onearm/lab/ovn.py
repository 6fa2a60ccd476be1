"""The lab's segment as a real OVN logical switch: Open vSwitch in user space instead of a bridge.

Needs Debian's openvswitch-switch, ovn-central and ovn-host on this machine; no kernel module but
tun. `switch` puts it in place, `plug` binds hosts to Neutron's ports, `drops` says what it dropped.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping

from onearm.errors import Missing, PlaceError
from onearm.lab import client
from onearm.lab.topology import BRIDGE, HOSTS, SEGMENT

RUN = "/run/ovn"  # the segment's own
COMPUTE = SEGMENT  # the compute host, as Neutron binds to it
PHYSICAL = "provider"  # the physical network that the router is on
START_S = 120.0
TOOLS = {
    "ovs-vswitchd": "openvswitch-switch",
    "ovn-northd": "ovn-central",
    "ovn-controller": "ovn-host",
}
HERE = f"export OVS_RUNDIR={RUN} OVN_RUNDIR={RUN} OVS_LOGDIR={RUN} OVN_LOGDIR={RUN}\n"
OPEN_VSWITCH = f"ovs-vsctl --db=unix:{RUN}/db.sock"
START = f"""\
modprobe tun
mkdir -p {RUN}
{HERE}
cd {RUN}
ovsdb-tool create conf.db /usr/share/openvswitch/vswitch.ovsschema
ovsdb-tool create nb.db /usr/share/ovn/ovn-nb.ovsschema
ovsdb-tool create sb.db /usr/share/ovn/ovn-sb.ovsschema
run() {{ program=$1; shift; name=$1; shift
  $program "$@" --detach --no-chdir --log-file={RUN}/$name.log --pidfile={RUN}/$name.pid \\
    -vconsole:off; }}
run ovsdb-server conf {RUN}/conf.db --remote=punix:{RUN}/db.sock --unixctl={RUN}/conf.ctl \\
  --remote=db:Open_vSwitch,Open_vSwitch,manager_options
for which in nb sb; do
  run ovsdb-server $which {RUN}/$which.db --remote=punix:{RUN}/$which.sock \\
    --unixctl={RUN}/$which.ctl
done
{OPEN_VSWITCH} --no-wait init -- set Open_vSwitch . \\
  external_ids:system-id={COMPUTE} external_ids:hostname={COMPUTE} \\
  external_ids:ovn-remote=unix:{RUN}/sb.sock external_ids:ovn-encap-type=geneve \\
  external_ids:ovn-encap-ip=127.0.0.1 external_ids:ovn-bridge-datapath-type=netdev \\
  external_ids:ovn-bridge-mappings={PHYSICAL}:br-ex
run ovs-vswitchd vswitchd unix:{RUN}/db.sock --unixctl={RUN}/vswitchd.ctl
ip link del {BRIDGE}
{OPEN_VSWITCH} -t 60 -- add-br br-int -- set Bridge br-int datapath_type=netdev fail-mode=secure \\
  other-config:disable-in-band=true -- add-br br-ex -- set Bridge br-ex datapath_type=netdev \\
  -- add-port br-ex router
ovn-nbctl --db=unix:{RUN}/nb.sock init
ovn-sbctl --db=unix:{RUN}/sb.sock init
run ovn-northd northd --ovnnb-db=unix:{RUN}/nb.sock --ovnsb-db=unix:{RUN}/sb.sock \\
  --unixctl={RUN}/northd.ctl
run ovn-controller controller unix:{RUN}/db.sock
"""
# The user-space switch reads frames as they are, so a checksum may not be left to the hardware.
SUMS = """\
import array, fcntl, socket, struct
order = array.array("B", struct.pack("=II", 0x17, 0))  # ETHTOOL_STXCSUM
request = struct.pack("16sP", b"eth0", order.buffer_info()[0])
fcntl.ioctl(socket.socket(), 0x8946, request)  # SIOCETHTOOL
"""
ON_SEGMENT = tuple(n for n, host in HOSTS.items() for wire in host.wires if wire.peer == SEGMENT)
DROPPING = re.compile(
    r"uuid=0x([0-9a-f]{8}), table=\d+\s*\((\w+)\s*\).*match=\((.*)\), action=\(drop;\)"
)
COUNT = re.compile(r"cookie=0x([0-9a-f]+),.* n_packets=(\d+)")


def switch(name: str | None) -> None:
    """Turn the segment's bridge into OVN; there is no way back but a new lab."""
    need_tools()
    for host in ON_SEGMENT:
        _run(name, host, ["python3", "-ISsc", SUMS], b"")
    shell(name, START)


def stands(name: str | None) -> bool:
    """Say whether the segment is OVN's."""
    return client.call(name, SEGMENT, ["test", "-e", RUN])[0] == 0


def need_tools() -> None:
    """Say which packages are missing."""
    missing = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if missing:
        raise Missing(
            "real OVN in the lab needs Debian's Open vSwitch and OVN on this machine; install"
            f" what is missing with: apt install {' '.join(missing)}"
        )


def plug(name: str | None, ports: Mapping[str, str]) -> None:
    """Give each host's end of its wire to OVN as the Neutron port with this id."""
    words = [OPEN_VSWITCH, "-t", "60"]
    for host, port in ports.items():
        words += [f"-- add-port br-int {host}"]
        words += [f"-- set Interface {host} external_ids:iface-id={port}"]
        words += [f"external_ids:attached-mac={HOSTS[host].wires[0].mac}"]
    shell(name, " ".join(words))


def drops(name: str | None) -> dict[tuple[str, str], int]:
    """Count what OVN's logical flows dropped, by (stage, match)."""
    flows = shell(name, f"ovn-sbctl --db=unix:{RUN}/sb.sock --uuid lflow-list")
    named = {found[1]: (found[2], found[3]) for found in DROPPING.finditer(flows)}
    counts: dict[tuple[str, str], int] = {}
    for found in COUNT.finditer(shell(name, "ovs-ofctl dump-flows br-int")):
        what = named.get(found[1].zfill(8))
        if what is not None:
            counts[what] = counts.get(what, 0) + int(found[2])
    return counts


def virtual_parents(name: str | None) -> list[str]:
    """Give the ports that OVN takes for possible owners of reserved addresses."""
    found = "--bare --columns=options find Logical_Switch_Port type=virtual"
    text = shell(name, f"ovn-nbctl --db=unix:{RUN}/nb.sock {found}")
    lists = re.findall(r"virtual-parents=\"?([0-9a-f,-]+)", text)
    return sorted({port for each in lists for port in each.split(",")})


def shell(name: str | None, script: str) -> str:
    """Run a script in the segment, where OVN's tools find OVN."""
    return _run(name, SEGMENT, ["sh", "-es"], (HERE + script + "\n").encode())


def _run(name: str | None, host: str, argv: list[str], script: bytes) -> str:
    code, out, complaint = client.call(name, host, argv, script, timeout=START_S)
    if code:
        text = complaint.decode(errors="replace").strip()
        raise PlaceError(f"OVN in the lab's segment: {host}: {text}")
    return out.decode(errors="replace")

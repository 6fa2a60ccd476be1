"""How packets get to a real server: other tools' methods -> the spec's `forwarding`."""

from __future__ import annotations

from onearm.imports import values
from onearm.imports.found import Cannot, Value, must
from onearm.imports.table import Gathered, Statement
from onearm.spec import Forwarding
from onearm.spec_load.ways import GUE_PORT, TUNNELS

METHODS = {"DR": "direct", "NAT": "masq", "TUN": "tunnel"}  # keepalived
METHODS |= {"gate": "direct", "masq": "masq", "ipip": "tunnel"}  # ldirectord
METHODS |= {"-g": "direct", "-m": "masq", "-i": "tunnel"}  # ipvsadm
CHECKSUMS = ("nocsum", "csum", "remcsum")
NO_CHECKSUM = "a spec's tunnels have no checksums"
PORTS = "only NAT gives a real server a port of its own: this one has to listen on {}"


def method(statement: Statement) -> Value:
    """Read `NAT`, `DR` or `TUN [type {ipip|gue port NUM|gre} [nocsum|csum|remcsum]]`."""
    found = METHODS.get(values.first(statement))
    must(found is not None, "no forwarding method")
    words = list(statement.words[1:])
    must(not words or found == "tunnel", "a type goes with TUN only")
    checksum = words.pop() if words and words[-1] in CHECKSUMS else ""
    if not words:
        return str(found), "", 0, checksum
    tunnel = words[1] if words[0] == "type" and len(words) > 1 else ""
    must(tunnel in TUNNELS, f"a spec's tunnels are of type {', '.join(TUNNELS)}")
    if tunnel != "gue":
        must(len(words) == len(("type", tunnel)), "a port goes with gue only")
        return str(found), tunnel, 0, checksum
    must(words[2:3] == ["port"] and len(words) == len(("type", "gue", "port", "NUM")), "no port")
    return str(found), tunnel, values.port(words[3]), checksum


def tunnel_type(statement: Statement) -> Value:
    """Read the type of a tunnel alone."""
    found = values.first(statement)
    must(found in TUNNELS, f"a spec's tunnels are of type {', '.join(TUNNELS)}")
    return found


def way(value: Value | None) -> Forwarding | None:
    """Make the spec's forwarding of a method, a type and a port, as they were read."""
    if not isinstance(value, tuple):
        return None
    found, tunnel, port = str(value[0]), str(value[1]), int(str(value[2]))
    if found != "tunnel":
        return Forwarding(found)
    tunnel = tunnel or TUNNELS[0]
    return Forwarding(found, tunnel, (port or GUE_PORT) if tunnel == "gue" else 0)


def with_note(found: Gathered, key: str) -> Forwarding | None:
    """Give the forwarding under a key, and say what of it is not carried."""
    value = found.values.get(key)
    if isinstance(value, tuple) and value[3] in CHECKSUMS[1:]:
        found.note(found.origin[key], NO_CHECKSUM, differs=True)
    return way(value)


def own_port(to: Forwarding, port: int, service: int) -> int:
    """Give the port that is a real server's own; 0 where it is the service's."""
    if port in {0, service}:
        return 0
    if to.method != "masq":
        raise Cannot(PORTS.format(service))
    return port


def written(to: Forwarding) -> str:
    """Write it as a spec does."""
    if to.tunnel in {"", TUNNELS[0]}:
        return to.method
    port = f", port: {to.port}" if to.port not in {0, GUE_PORT} else ""
    return f"{{method: {to.method}, type: {to.tunnel}{port}}}"

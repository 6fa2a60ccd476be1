"""What the real tools print of a lab's hosts, for comparing before and after."""

import difflib

from labs import HOSTS

SMALL = """
echo '# services'; ipvsadm -Sn
echo '# links'; ip -d -o link
echo '# addresses'; ip -d -o address | sed 's/ tentative//'
echo '# records'; find /var/lib/onearm /etc/onearm -type f 2>/dev/null || true
"""
# counters are no state: `-v` shows the links of a rule, and its counts between brackets or spaces
RULES = """
echo '# arptables'
arptables-legacy -L -n -v | sed -E 's/, pcnt=.*//; s/ [0-9]+ packets, .*bytes//'
echo '# sysctls'; sysctl net.ipv4
"""


def small(lab, hosts=HOSTS):
    """Dump IPVS, links, addresses and our own files."""
    return {host: lab.sh(host, SMALL) for host in hosts}


def whole(lab, hosts=HOSTS):
    """Dump the ARP rules and all IPv4 sysctls too."""
    return {host: lab.sh(host, SMALL + RULES) for host in hosts}


def difference(before, after):
    """Show in which lines two dumps differ; empty when they are identical byte for byte."""
    found = []
    for host, text in before.items():
        old, new = text.splitlines(), after[host].splitlines()
        lines = difflib.unified_diff(old, new, f"{host} before", f"{host} after", "", "", 0, "")
        found += lines
    return "\n".join(found)

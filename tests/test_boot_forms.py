"""What is handed out for other tooling: every form holds the same files, and shells take them."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from onearm import spec
from onearm.boot import forms
from onearm.boot.command import handed, render_command
from onearm.errors import UsageError
from onearm.ways import holds

EXAMPLES = Path(__file__).parents[1] / "examples"
REFERENCE = EXAMPLES / "reference.yaml"
KINDS = """
name: web
directors: {d: {address: 203.0.113.3, address6: "2001:db8:203::3"}}
real_servers:
  r1: {address: 203.0.113.4, address6: "2001:db8:203::4", arp: arptables}
  r2: {address: 203.0.113.5, arp: nft}
  r3: 203.0.113.6
  t: 203.0.113.7
  m: 203.0.113.8
timeouts: {tcp: 1h}
services:
  - {vip: 203.0.113.2, port: 80/tcp, persistence: 60s, real_servers: {r1: {weight: 3}, r2: {}}}
  - {vip: 203.0.113.2, port: 81/tcp, forwarding: masq, real_servers: [m]}
  - {vip: 203.0.113.2, port: 82/tcp, forwarding: tunnel, real_servers: [t]}
  - {vip: "2001:db8:203::2", port: 53/udp, flags: [ops], real_servers: [r1]}
"""


def all_hosts():
    for path in sorted(EXAMPLES.glob("*.yaml")):
        loaded = spec.load(path)
        held = {name for name, some in holds(loaded, ()).items() if some}
        for host in (*loaded.directors, *loaded.real_servers):
            if host in loaded.real_servers and host.name not in held:
                continue
            yield pytest.param(loaded, host.name, id=f"{path.stem}-{host.name}")
    loaded = spec.parse(KINDS, "kinds.yaml")
    for name in ("d", "r1", "r2", "t"):
        yield pytest.param(loaded, name, id=f"kinds-{name}")


def handout(loaded, name):
    return handed(loaded, name, ("eth0",))


def contents(made):
    return {one.path: (json.loads(one.text), f"{one.mode:04o}") for one in made.files}


@pytest.mark.parametrize(("loaded", "name"), [*all_hosts()])
def test_every_form_holds_the_same_files(loaded, name):
    made = handout(loaded, name)
    wanted = contents(made)
    cloud = forms.cloud_init(made)
    assert cloud.startswith("#cloud-config\n")
    user_data = yaml.safe_load(cloud)
    (resource,) = yaml.safe_load(forms.heat(made))["resources"].values()
    assert resource["type"] == "OS::Heat::CloudConfig"
    assert resource["properties"]["cloud_config"] == user_data
    written = {f["path"]: (f["content"], f["permissions"]) for f in user_data["write_files"]}
    assert written == wanted
    (play,) = yaml.safe_load(forms.ansible(made))
    copies = [t["ansible.builtin.copy"] for t in play["tasks"] if "ansible.builtin.copy" in t]
    assert {c["dest"]: (c["content"], c["mode"]) for c in copies} == wanted
    for text, _ in wanted.values():
        assert text in forms.systemd(made)
    assert (forms.shell(made), "0755") in wanted.values()


@pytest.mark.parametrize(("loaded", "name"), [*all_hosts()])
def test_every_script_is_one_for_any_posix_shell(loaded, name):
    script = forms.shell(handout(loaded, name))
    assert script.startswith("#!/bin/sh\n# made by onearm for ")
    done = subprocess.run(["sh", "-n"], input=script, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_director_has_all_that_its_spec_says():
    script = forms.shell(handed(spec.parse(KINDS, "kinds.yaml"), "d"))
    for line in (
        "link=$(ip -o route get 203.0.113.4 | sed",
        "ipvsadm --set 3600 0 0",
        "ipvsadm -A -t 203.0.113.2:80 -s wlc -p 60 2>/dev/null ||\n",
        "put /proc/sys/net/ipv4/ip_forward 1\n",
        'put "/proc/sys/net/ipv4/conf/$link/send_redirects" 0\n',
        "put /proc/sys/net/ipv4/vs/pmtu_disc 1\n",
        "-r 203.0.113.8:81 -m -w 1 2>/dev/null ||\n",
        "    ipvsadm -e -t 203.0.113.2:80 -r 203.0.113.4:80 -g -w 3\n",
        "ipvsadm -A -u '[2001:db8:203::2]:53' -s wlc -o 2>/dev/null",
    ):
        assert line in script
    assert script.index("hold 203.0.113.2/32") > script.rindex("ipvsadm")


def test_an_end_of_tunnels_is_there_before_its_vip_and_after_the_silence():
    script = forms.shell(handed(spec.parse(KINDS, "kinds.yaml"), "t"))
    steps = (
        "arp_ignore",
        "ip link add ipip-vip type ipip local 203.0.113.7 remote 203.0.113.3\n",
        "put /proc/sys/net/ipv4/conf/ipip-vip/rp_filter 2\n",
        "hold 203.0.113.2/32 ipip-vip\n",
    )
    places = [script.index(step) for step in steps]
    assert places == sorted(places)
    assert "type dummy" not in script


@pytest.mark.parametrize("name", ["r1", "r2"])
def test_rules_need_a_link(name):
    loaded = spec.parse(KINDS, "kinds.yaml")
    with pytest.raises(UsageError, match="--link eth0"):
        handed(loaded, name)
    script = forms.shell(handed(loaded, name, ("ens3", "ens4")))
    assert script.index("ens4") < script.index("hold ")


@pytest.mark.parametrize(
    ("name", "links", "said"),
    [
        ("r4", (), "--for r4: the spec has no such host, it has d, r1, r2, r3, t, m"),
        (
            "m",
            (),
            "--for m: no service of the spec has it hold a VIP: its default route",
        ),
        ("r3", (), "--for r3: no service of the spec has it"),
        ("d", ("a", "b"), "--for d: a director announces its VIPs on one --link"),
    ],
)
def test_what_cannot_be_handed_out_is_refused(name, links, said):
    with pytest.raises(UsageError) as caught:
        handed(spec.parse(KINDS, "kinds.yaml"), name, links)
    assert str(caught.value).startswith(said)


def test_the_files_can_be_written_below_a_folder(tmp_path, capsys):
    code = render_command(REFERENCE, host="server-2", form="systemd", links=(), output=tmp_path)
    assert code == 0
    written = capsys.readouterr().out.split()
    wanted = contents(handed(spec.load(REFERENCE), "server-2"))
    assert {*written} == {f"{tmp_path}{path}" for path in wanted}
    for path, (text, mode) in wanted.items():
        file = Path(f"{tmp_path}{path}")
        assert (file.read_text(), f"{file.stat().st_mode & 0o7777:04o}") == (text, mode)


def test_only_files_go_into_a_folder(tmp_path):
    with pytest.raises(UsageError, match="shell is one text"):
        render_command(REFERENCE, host="server-2", form="shell", links=(), output=tmp_path)
    (tmp_path / "etc").write_text("")
    with pytest.raises(UsageError, match="choose another folder"):
        render_command(REFERENCE, host="server-2", form="systemd", links=(), output=tmp_path)


def test_a_director_of_a_group_marks_its_packets_and_has_all_its_vips():
    loaded = spec.load(EXAMPLES / "groups.yaml")
    text = handed(loaded, "server-1").script
    assert "ipvsadm -A -f 1869021185 -s rr -p 300" in text
    assert text.count("iptables -t mangle -C PREROUTING") == 5
    marks = text.index("iptables -t mangle -A PREROUTING")
    assert text.index("ipvsadm -a -f") < marks < text.index('hold 203.0.113.9/32 "$link"')

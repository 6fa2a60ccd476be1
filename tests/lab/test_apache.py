"""Two real apache2 behind the VIP, as in the reference: they log the client's own address."""

import shutil

import pytest
from labs import REFERENCE
from proofs import proving

pytestmark = pytest.mark.lab
MODULES = "/usr/lib/apache2/modules"
CONFIG = f"""
ServerRoot /run/apache
ServerName HOST
PidFile /run/apache/pid
ErrorLog /run/apache/error.log
LoadModule mpm_event_module {MODULES}/mod_mpm_event.so
LoadModule authz_core_module {MODULES}/mod_authz_core.so
LoadModule dir_module {MODULES}/mod_dir.so
StartServers 1
ThreadsPerChild 8
MaxRequestWorkers 8
MinSpareThreads 1
MaxSpareThreads 8
Listen 80
DirectoryIndex index.html
DocumentRoot /run/apache/www
LogFormat "%a %A %>s" short
CustomLog /run/apache/access.log short
"""
START = """
kill $(cat /run/responder.pid)
mkdir -p /run/apache/www
cat >/run/apache/apache.conf
echo "served by $(hostname)" >/run/apache/www/index.html
/usr/sbin/apache2 -f /run/apache/apache.conf -k start
for i in $(seq 100); do test -s /run/apache/pid && break; sleep 0.05; done
"""
SERVERS = {"server-2": "203.0.113.4", "server-3": "203.0.113.5"}


@pytest.fixture(scope="module", autouse=True)
def apaches(lab):
    if shutil.which("apache2", path="/usr/sbin") is None:
        pytest.fail("apache2 is not here: apt-get install apache2-bin")
    for host in SERVERS:
        text = CONFIG.replace("HOST", host)
        text += "User www-data\nGroup www-data\n<Directory /run/apache/www>\nRequire all granted\n"
        lab.on(host, "sh", "-ec", START, stdin=f"{text}</Directory>\n".encode())
        print(host, lab.on(host, "/usr/sbin/apache2", "-v").splitlines()[0])
    lab.onearm("apply", REFERENCE, "--yes", code=0)


def access(lab, host):
    lines = lab.on(host, "cat", "/run/apache/access.log").splitlines()
    return [tuple(line.split()) for line in lines]


def test_apache_serves_in_turns_and_logs_the_clients_own_address(lab):
    fetch = "curl -s -m 5 --interface {} http://203.0.113.2/"
    sources = [f"198.51.100.{n}" for n in range(20, 24)]
    pages = [lab.sh("client", fetch.format(source)).strip() for source in sources]
    assert sorted(pages) == ["served by server-2"] * 2 + ["served by server-3"] * 2
    assert lab.sh("neighbour", "curl -s -m 5 http://203.0.113.2/").startswith("served by")
    seen = [line for host in SERVERS for line in access(lab, host)]
    assert {client for client, _, _ in seen} == {*sources, "203.0.113.10"}
    assert {local for _, local, _ in seen} == {"203.0.113.2"}
    assert {status for *_, status in seen} == {"200"}


def test_verify_proves_it(lab):
    with proving(lab, REFERENCE) as prove:
        found = prove(cold=True)
        assert (found.code(strict=True), found.results()) == (0, {"answered"}), str(found)
        lab.sh("server-3", "kill $(cat /run/apache/pid)")
        found = prove(cold=True)
        assert "server-3 reset 8 of 8" in found.text("path.every_destination")
    assert all(access(lab, host) for host in SERVERS)

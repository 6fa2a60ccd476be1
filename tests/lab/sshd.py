"""A lab whose hosts are reached by a real sshd alone: a user with sudo, keys, a jump host."""

import itertools
import sys
import textwrap

USER, HOME, OPERATOR = "ops", "/run/ops", "/run/operator"
BEHIND = ("server-1", "server-2", "server-3")  # the client reaches them by way of the router
# As a cloud image is: a user without a password, whose key and whose sudo were put there at boot.
HOST = f"""
mkdir -p /run/sshd {HOME}/.ssh
useradd --no-create-home --home-dir {HOME} --shell /bin/sh --password '*' {USER}
cat > {HOME}/.ssh/authorized_keys
chown -R {USER}: {HOME}
chmod 700 {HOME} {HOME}/.ssh
echo '{USER} ALL=(root) NOPASSWD: ALL' > /etc/sudoers.d/{USER}
chmod 440 /etc/sudoers.d/{USER}
ssh-keygen -q -t ed25519 -N '' -f /run/sshd/key
cat > /run/sshd/config <<'END'
HostKey /run/sshd/key
AuthenticationMethods publickey
PermitRootLogin no
UsePAM no
LogLevel VERBOSE
PidFile /run/sshd/pid
END
/usr/sbin/sshd -f /run/sshd/config -E /run/sshd/log
cat /run/sshd/key.pub
"""
# The operator is the root of `client`, for the lab's Python lies in root's home. ssh takes that
# from /etc/passwd, which each host has for itself.
CLIENT = f"""
mkdir -p {OPERATOR}/.ssh
sed -i 's|^root:.*|root:x:0:0::{OPERATOR}:/bin/sh|' /etc/passwd
chmod 700 {OPERATOR} {OPERATOR}/.ssh
ssh-keygen -q -t ed25519 -N '' -f {OPERATOR}/.ssh/id_ed25519
cat {OPERATOR}/.ssh/id_ed25519.pub
"""
CONFIG = f"""\
Host router server-*
    User {USER}
Host server-*
    ProxyJump router
"""


class Fleet:
    """The lab's hosts behind sshd, and the operator on `client`."""

    def __init__(self, lab):
        self.lab, self._runs = lab, itertools.count()
        key = lab.sh("client", CLIENT).encode()
        known = ""
        for host in ("router", *BEHIND):
            public = lab.on(host, "sh", "-ec", HOST, stdin=key)
            known += f"{host} {' '.join(public.split()[:2])}\n"
        self.known = known
        self.configure()

    def configure(self, config=CONFIG, known=None):
        """Write the operator's ssh_config and known_hosts."""
        self.put(".ssh/config", config)
        self.put(".ssh/known_hosts", self.known if known is None else known)

    def put(self, name, text):
        """Write a file in the operator's home."""
        self.lab.on("client", "sh", "-ec", f"cat > {OPERATOR}/{name}", stdin=text.encode())

    def spec(self, text):
        """Write the spec `web.yaml`."""
        self.put("web.yaml", textwrap.dedent(text))

    def onearm(self, *words, code, apart=False, timeout="50s"):
        """Run onearm on `client`; `apart`: over no connection that another run left."""
        runtime = f"{OPERATOR}/{next(self._runs)}" if apart else OPERATOR
        env = f"HOME={OPERATOR} XDG_RUNTIME_DIR={runtime} COLUMNS=80 NO_COLOR=1"
        env += f" ONEARM_TIMEOUT={timeout}"
        script = f"cd {OPERATOR}; {env} {sys.executable} -IB -m onearm {' '.join(words)} 2>&1"
        out = self.lab.sh("client", f"{script}; echo exit $?", check=False, timeout=110)
        assert out.endswith(f"exit {code}\n"), out
        return out

    def logins(self, host):
        """Count how often somebody was let in on a host."""
        return int(self.lab.sh(host, "grep -c 'Accepted publickey' /run/sshd/log || true"))

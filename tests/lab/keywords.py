"""The keywords of the tools as they are installed, asked of the tools themselves."""

import re
import shutil
import subprocess
from pathlib import Path

WORD = re.compile(r"[a-z][a-z0-9_-]{1,24}|[A-Z]{2,}(_[A-Z]+)?")
UNKNOWN = re.compile(r"Line ([0-9]+)\) Unknown keyword")
GROUP = 2000  # words in one question: those after a known one may be taken for its own block's
SERVICE = ["virtual_server 203.0.113.2 80 {", "lb_kind DR"]
SERVER = [*SERVICE, "real_server 203.0.113.4 80 {"]
WITHIN = {
    "virtual_server": SERVICE,
    "real_server": SERVER,
    "url": [*SERVER, "SSL_GET {", "url {"],
    "host": [*SERVER, "SMTP_CHECK {", "host {"],
    "SSL": ["SSL {"],
}
KINDS = "HTTP_GET SSL_GET TCP_CHECK SMTP_CHECK DNS_CHECK MISC_CHECK UDP_CHECK PING_CHECK"
KINDS += " BFD_CHECK FILE_CHECK"
WITHIN |= {kind: [*SERVER, f"{kind} {{"] for kind in KINDS.split()}


def of_keepalived(folder, block):
    """Try every word of the program in a block: what it does not call unknown is a keyword."""
    left = sorted(_words(shutil.which("keepalived")))
    return {
        word
        for at in range(0, len(left), GROUP)
        for word in _known(folder, block, left[at:][:GROUP])
    }


def _words(program):
    """Give every text in a program, and each end of it: a linker lets texts share their ends."""
    texts = re.findall(rb"[A-Za-z0-9_-]{2,40}\0", Path(program).read_bytes())
    whole = {text[:-1].decode() for text in texts}
    return {w[at:] for w in whole for at in range(len(w)) if WORD.fullmatch(w[at:])}


def _known(folder, block, words):
    head, known, left = WITHIN[block], [], list(words)
    file = folder / "keepalived.conf"
    while left:
        file.write_text("\n".join([*head, *left, *(["}"] * (len(head) + 1))]) + "\n")
        done = subprocess.run(
            ["keepalived", "-t", "-C", "-f", file], capture_output=True, text=True, timeout=60
        )
        lines = {int(number) for number in UNKNOWN.findall(done.stdout + done.stderr)}
        first = next((n for n in range(len(left)) if len(head) + 1 + n not in lines), None)
        if first is None:
            break
        known.append(left[first])
        left = left[first + 1 :]
    return known


def of_ldirectord():
    """Give (block, directive) of every pattern with which the script reads its lines."""
    text = Path(shutil.which("ldirectord")).read_text(errors="replace")
    text = text[text.index("sub read_config") :]
    text = text[: text.index("\n}\n")]
    found = set()
    for variable, block in (("rcmd", "virtual"), ("linedata", "global")):
        for word, six in re.findall(rf"\${variable}\s*=~\s*/\^\(*(\w+)(\(6\)\??)?", text):
            found |= {(block, word)} | ({(block, f"{word}6")} if six else set())
    return found


def of_ipvsadm():
    """Give the options that the program's help names, each by its short name if it has one."""
    text = Path(shutil.which("ipvsadm")).read_bytes().decode("latin-1")
    text = text[text.index("Options:\n") : text.index("Daemon Options:")]
    found = [re.findall(r"(?<![\w-])--?[A-Za-z0-9][\w-]*", line[:19]) for line in text.split("\n")]
    return {words[-1] for words in found if words}

"""What the pages of docs/ and the manual page both say, in Markdown: exit codes, variables."""

EXITS = (
    ("0", "fine"),
    ("1", "a bug of onearm; the traceback is kept in a file that the message names"),
    ("2", "the command line or the spec is wrong"),
    ("3", "refused as unsafe, or as not ours; the message has the numbers and the way out"),
    ("4", "a host could not be reached, or refused"),
    ("5", "it differs: not converged, not as planned, not proved"),
    (
        "130",
        "interrupted (Ctrl-C); the batch in hand was finished, and the next run goes on from there",
    ),
)
AFTER_EXITS = (
    "If several apply, the lowest number wins. `onearm lab exec` exits as its command does. Results"
    " go to stdout; progress (one line\nper finished action, written after it took effect) and"
    " errors to stderr. Colours honour `NO_COLOR` and pipes."
)
VARIABLES = (
    ("`ONEARM_LAB`", "the lab that is meant when nothing else is said; default `lab`"),
    (
        "`ONEARM_TIMEOUT`",
        "how long a host may take to answer one request, as `45s` or `2m`; default `20s`",
    ),
    ("`ONEARM_PARALLEL`", "how many hosts may be at work at once, 1 to 1000; default 32"),
    (
        "`ONEARM_LAB_BACKEND`",
        "`native` or `uml`, where the choice that the lab makes by itself is not wanted",
    ),
    (
        "`ONEARM_LAB_MEMORY`",
        "how much memory the lab's guest has, in megabytes as `2048M`; default `512M`",
    ),
    (
        "`XDG_RUNTIME_DIR`, `XDG_CACHE_HOME`, `XDG_STATE_HOME`",
        "where labs, what is built once, and tracebacks live ([files.md](files.md))",
    ),
)
FILES = (
    ("/var/lib/onearm/ledger.json", "on a host: what is onearm's there, for which specs"),
    ("/etc/onearm/NAME.yaml", "on a director: the spec that its daemon carries out"),
    ("/run/onearm", "on a host: the lock, the node file, and the daemon's socket"),
)


def table(first: str, second: str, rows: tuple[tuple[str, str], ...]) -> str:
    """Write a table of two columns."""
    lines = "".join(f"| {left} | {right} |\n" for left, right in rows)
    return f"| {first} | {second} |\n|---|---|\n{lines}"

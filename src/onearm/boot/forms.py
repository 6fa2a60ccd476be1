"""A host's files in the forms that other tooling takes: cloud-init, Ansible, Heat; pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from onearm.boot.script import header
from onearm.model import BootFile, BootVip

OWNER = "root:root"
ROOTS = {"owner": "root", "group": "root"}
CHANGED = "Run it again"


@dataclass(frozen=True)
class Handout:
    """What is handed out for one host of a spec: its script, the files that run it at boot."""

    name: str
    host: str
    script: str
    files: tuple[BootFile | BootVip, ...]

    @property
    def service(self) -> str:
        """The unit among the files."""
        return f"onearm-{self.name}.service"


class _Texts(yaml.SafeDumper):
    """Writes texts of several lines as blocks, as people would."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Texts.add_representer(str, _text)


def _yaml(data: Any) -> str:
    return yaml.dump(data, Dumper=_Texts, sort_keys=False, width=1000)


def shell(handout: Handout) -> str:
    """Give the script itself: run it as root; it holds until the next boot."""
    return handout.script


def systemd(handout: Handout) -> str:
    """Show the files one after the other, each below its path and mode."""
    parts = [
        f"# ==> {one.path} (mode {one.mode:04o})\n{json.loads(one.text)}" for one in handout.files
    ]
    return "\n".join(parts)


def _cloud_config(handout: Handout) -> dict[str, Any]:
    return {
        "write_files": [
            {
                "path": one.path,
                "owner": OWNER,
                "permissions": f"{one.mode:04o}",
                "content": json.loads(one.text),
            }
            for one in handout.files
        ],
        "runcmd": [["systemctl", "daemon-reload"], ["systemctl", "restart", handout.service]],
    }


def cloud_init(handout: Handout) -> str:
    """Write user data; cloud-init runs it once, the unit then at each boot."""
    return "#cloud-config\n" + header(handout.name) + _yaml(_cloud_config(handout))


def heat(handout: Handout) -> str:
    """Write a template with the user data of one server as a resource, to take over into yours."""
    word = "".join(c if c.isalnum() else "_" for c in handout.host)
    return header(handout.name) + _yaml(
        {
            "heat_template_version": "2018-08-31",
            "description": f"user data of {handout.host} for the onearm spec {handout.name}",
            "resources": {
                f"onearm_{word}": {
                    "type": "OS::Heat::CloudConfig",
                    "properties": {"cloud_config": _cloud_config(handout)},
                }
            },
            "outputs": {"user_data": {"value": {"get_resource": f"onearm_{word}"}}},
        }
    )


def ansible(handout: Handout) -> str:
    """Write a playbook of builtin modules; a second run changes nothing."""
    unit = {"name": handout.service, "daemon_reload": True}
    module = "ansible.builtin.systemd"
    started = {"name": "It runs at each boot", module: {**unit, "state": "started"}}
    play = {
        "name": f"{handout.host} of the onearm spec {handout.name}",
        "hosts": handout.host,
        "become": True,
        "gather_facts": False,
        "tasks": [
            *map(_folder, _folders(handout.files)),
            *map(_copied, handout.files),
            started,
        ],
        "handlers": [{"name": CHANGED, module: {**unit, "state": "restarted"}}],
    }
    return "---\n" + header(handout.name) + _yaml([play])


def _copied(one: BootFile | BootVip) -> dict[str, Any]:
    content = {"dest": one.path, "content": json.loads(one.text), **ROOTS}
    module = {**content, "mode": f"{one.mode:04o}"}
    return {"name": f"The file {one.path}", "ansible.builtin.copy": module, "notify": CHANGED}


def _folders(files: Sequence[BootFile | BootVip]) -> list[str]:
    return sorted({one.path.rpartition("/")[0] for one in files} - {"/etc/systemd/system"})


def _folder(path: str) -> dict[str, Any]:
    module = {"path": path, "state": "directory", **ROOTS, "mode": "0755"}
    return {"name": f"The folder {path}", "ansible.builtin.file": module}


FORMS: dict[str, Callable[[Handout], str]] = {
    "cloud-init": cloud_init,
    "shell": shell,
    "systemd": systemd,
    "ansible": ansible,
    "heat": heat,
}

"""A Neutron whose ML2/OVN writes into the OVN of a lab's segment."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from onearm.lab import ovn
from onearm.lab.cloud import files, install
from onearm.lab.cloud.server import Server
from onearm.lab.ovn_wire import Door

ML2 = """\
[ml2]
type_drivers = local,flat,vlan,geneve
tenant_network_types = geneve
mechanism_drivers = ovn
extension_drivers = port_security
overlay_ip_version = 4
[ml2_type_flat]
flat_networks = {physical}
[ml2_type_geneve]
vni_ranges = 1:1000
max_header_size = 38
[securitygroup]
enable_security_group = true
[ovn]
ovn_nb_connection = unix:{directory}/nb.sock
ovn_sb_connection = unix:{directory}/sb.sock
ovn_metadata_enabled = false
"""


class OvnServer(Server):
    """The API runs beside the lab; its two database connections end in the lab's segment."""

    def __init__(self, directory: Path, lab: str) -> None:
        """Serve a lab whose segment `ovn.switch` has turned into OVN's."""
        super().__init__(directory, install.GENERATIONS[0])
        self.lab = lab
        self._doors = ExitStack()

    def _spawn(self, home: Path) -> int:
        for database in ("nb", "sb"):
            remote = f"{ovn.RUN}/{database}.sock"
            self._doors.enter_context(Door(self.directory / f"{database}.sock", self.lab, remote))
        texts = {
            "ml2.ini": ML2.format(directory=self.directory, physical=ovn.PHYSICAL),
            "neutron.conf": files.NEUTRON.format(directory=self.directory).replace(
                "service_plugins =", "service_plugins = ovn-router"
            ),
            "api-paste.ini": files.PASTE.replace(" tokens ", " threads tokens ")
            + "\n[filter:threads]\npaste.filter_factory = ovn:factory\n",
        }
        for name, text in texts.items():
            (self.directory / name).write_text(text)
        return super()._spawn(home)

    def stop(self) -> None:
        """End it, then its connections."""
        super().stop()
        self._doors.close()

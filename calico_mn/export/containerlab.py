"""A cluster as a lab of containerlab: a container for each namespace, and the links between them.

In goes a cluster, out comes one .clab.yml: switches, routers, nodes and pods as nodes of kind
linux without Docker's network, the veths as links, and what ``calico-mn plan`` prints as ``exec``
lines, which containerlab runs without a shell once the links are there.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from calico_mn.calico.cluster import Cluster
from calico_mn.calico.encapsulation import WITH_BACK_END
from calico_mn.delta import creation
from calico_mn.emulation.plan import boot_states
from calico_mn.export import IMAGE, Export, as_yaml, file_name
from calico_mn.kernel import iptext
from calico_mn.present import Link, expected_link
from calico_mn.state import Namespace, Veth, VethEnd
from calico_mn.text import join

FILE = "calico.clab.yml"
NOTES = (
    "BGP and Felix: routes are those of a cluster at rest, and follow no change",
    "Felix's rules: policies have no effect, and outgoing packets keep their addresses",
    f"{WITH_BACK_END.device}, where the kernel cannot make it: the commands that use it fail",
)
# Docker takes no longer host name.
_LONGEST_NAME = 63
#: ends of links that are no node's for containerlab, in any case (parseLinkType, links/link.go):
#: those of "host" are in the machine's own network
_NO_NODES = frozenset({"brief", "dummy", "host", "macvlan", "mgmt-net", "veth", "vxlan",
                       "vxlan-stitch"})
# As containerlab makes a veth.
_QUEUE = 1000


def containerlab(cluster: Cluster, image: str = IMAGE) -> Export:
    """The lab of a cluster; ``image`` is that of all containers, and has ip, tc and sysctl."""
    states = [state for _, state in boot_states(cluster)]
    names = {state.name: _name(state.name) for state in states}
    links, settings = [], defaultdict[str, list[str]](list)
    for state in states:
        for device in state.devices:
            if isinstance(device, Veth):
                peer = device.peer
                links.append({"endpoints": [f"{names[state.name]}:{device.name}",
                                            f"{names[peer.namespace]}:{peer.name}"],
                              "mtu": device.mtu})
                ends = {state.name: expected_link(device),
                        peer.namespace: Link(peer.name, "veth", peer.mtu,
                                             txqueuelen=device.txqueuelen, mac=peer.mac)}
                for namespace, wanted in ends.items():
                    made = Link(wanted.name, "veth", device.mtu, txqueuelen=_QUEUE)
                    if wanted != made:
                        settings[namespace].append(iptext.link_changed(wanted, made))
    nodes = {names[state.name]: {
        "kind": "linux", "sysctls": {item.path.replace("/", "."): item.value
                                     for item in state.sysctls if not item.is_of_device},
        "exec": [*_commands(state), *settings[state.name]]} for state in states}
    lab = {"name": "calico", "topology": {
        "kinds": {"linux": {"image": image, "network-mode": "none", "cmd": "sleep infinity"}},
        "nodes": nodes, "links": links}}
    notes: tuple[str, ...] = NOTES
    if any(len(name) > _LONGEST_NAME for name in nodes):
        notes += (f"names of more than {_LONGEST_NAME} characters: Docker refuses them",)
    if taken := [name for name in names if name.lower() in _NO_NODES]:
        notes += (f"the names {join(taken)}, which containerlab has for itself: these nodes end"
                  " in _",)
    return Export({FILE: as_yaml([lab])}, notes, f"sudo containerlab deploy -t {FILE}")


def _name(place: str) -> str:
    return f"{place}_" if place.lower() in _NO_NODES else file_name(place)


def _commands(state: Namespace) -> list[str]:
    """What fills a namespace that has its links, and the settings that devices copy at birth."""
    devices = tuple(VethEnd(device.name, device.mtu, device.shaping)
                    if isinstance(device, Veth) else device for device in state.devices)
    sysctls = tuple(item for item in state.sysctls if item.is_of_device)
    return iptext.commands(creation(replace(
        state, devices=devices, sysctls=sysctls, firewall=None)))

"""A cluster as a shell script of ``ip``, ``sysctl``, ``tc`` and ``iptables-restore`` commands.

In goes a cluster, out comes one script for ``sh``, whose ``up`` makes the namespaces of a boot with
what they hold, and whose ``down`` removes them. It needs iproute2, procps, and, for rules, iptables
and ipset. The commands are those of ``calico-mn plan``.

Data reaches the shell as quoted words or in here-documents with a quoted delimiter, which it does
not expand.
"""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterator
from dataclasses import replace

from calico_mn.calico.cluster import Cluster
from calico_mn.delta import creation
from calico_mn.emulation.plan import boot_states
from calico_mn.export import Export, file_name
from calico_mn.kernel import firewall, iptext
from calico_mn.rules import FirewallChange
from calico_mn.state import Device, Namespace, Tunnel, Veth

FILE = "cluster.sh"
#: before the names of namespaces, which are the whole machine's
PREFIX = "calico-"
NOTES = (
    "BGP and Felix: routes and rules are those of a cluster at rest, and follow no change",
    "programs: nothing runs in nodes and pods",
)

_SCRIPT = """\
#!/bin/sh
# {about}
#
#   sudo sh {file} up      makes network namespaces {prefix}NAME, of pods {prefix}NAMESPACE_NAME
#   sudo sh {file} down    removes them
#   sudo ip netns exec {example} ip route
#
# IPTABLES_RESTORE names another iptables-restore, such as iptables-legacy-restore.
#
# Not in it:
{notes}
set -eu

names={names}
made=

down() {{
    for name in $names; do ip netns del "$name" 2>/dev/null || true; done
}}

undo() {{
    for name in $made; do ip netns del "$name"; done
}}

up() {{
    trap undo EXIT
    trap 'exit 130' INT TERM
    for name in $names; do
        ip netns add "$name"
        made="$made $name"
    done
{tunnel}{fill}
    trap - EXIT INT TERM
}}

case "${{1-}}" in
up|down) "$1" ;;
*) echo "usage: sh $0 up|down" >&2; exit 2 ;;
esac
"""
# The module makes such a device in every namespace when it is loaded, so that "add" may fail.
_TUNNEL = """\
ip -n {node} link add {device} type {kind} 2>/dev/null || true
tunnel=yes
ip -n {node} link show {device} >/dev/null 2>&1 || tunnel=
export tunnel
if [ -z "$tunnel" ]; then
    echo "$0: this kernel has no {kind} (module {kind}), so ip cannot make {device}{result}" >&2
{end}fi
"""
_NEEDED = ("; it is needed here: export again with --mode Never or --encapsulation vxlan",
           "    exit 1\n")
_SPARE = ("; no packet takes it here, nodes go without", "")


def script(cluster: Cluster) -> Export:
    """The script of a cluster."""
    states = [_renamed(state) for _, state in boot_states(cluster)]
    attempt = ""
    if tunnels := [(state, state.tunnel) for state in states if state.tunnel]:
        result, end = _NEEDED if any(itertools.starmap(_uses, tunnels)) else _SPARE
        state, device = tunnels[0]
        attempt = _TUNNEL.format(node=shlex.quote(state.name), device=device.name,
                                 kind=device.kind, result=result, end=end)
    nodes = [PREFIX + name for name in cluster.nodes]
    text = _SCRIPT.format(
        about="The network namespaces and kernel state of a cluster, made without calico_mn",
        file=FILE, prefix=PREFIX, example=nodes[0], notes="\n".join(
            f"#   {note}" for note in NOTES), names=shlex.quote(" ".join(
                state.name for state in states)), tunnel=attempt,
        fill="\n".join(map(_filled, states)))
    return Export({FILE: text}, NOTES, f"sudo sh {FILE} up")


def _renamed(state: Namespace) -> Namespace:
    """A state under the script's names of namespaces."""
    def device(item: Device) -> Device:
        return replace(item, peer=replace(item.peer, namespace=_name(item.peer.namespace))
                       ) if isinstance(item, Veth) else item

    return replace(state, name=_name(state.name), devices=tuple(map(device, state.devices)))


def _name(namespace: str) -> str:
    return PREFIX + file_name(namespace)


def _uses(state: Namespace, tunnel: Tunnel) -> bool:
    """Whether something else than the device itself is there: an address or a route."""
    return any(address.device == tunnel.name for address in state.addresses) or any(
        tunnel.name in route.devices for route in state.routes)


def _filled(state: Namespace) -> str:
    """The commands that fill a namespace, in a shell inside it."""
    lines = ["ip link set lo up"]
    tunnel = state.tunnel.name if state.tunnel else ""
    for command in iptext.commands(replace(creation(state), firewall=None)):
        words = command.split()
        if words[0] == "sysctl":  # -e: a kernel without IPv6 has no settings of it
            words[1:2] = ["-q", "-e", "-w"]
        lines.append(_on_tunnel(words) if tunnel in words else shlex.join(words))
    if state.firewall:
        lines += _rules(FirewallChange(None, state.firewall))
    return "\n".join([f"ip netns exec {shlex.quote(state.name)} sh -e <<'END'", *lines, "END"])


def _on_tunnel(words: list[str]) -> str:
    """A command for a namespace with the tunnel device, which the module may have made."""
    is_made = words[:3] == ["ip", "link", "add"]
    exists = f"ip link show {words[3]} >/dev/null 2>&1 || " if is_made else ""
    return f'[ -z "$tunnel" ] || {{ {exists}{shlex.join(words)}; }}'


def _rules(change: FirewallChange) -> Iterator[str]:
    """What iptables-restore and ipset get; sets come before the rules that name them."""
    restore = '"${IPTABLES_RESTORE-iptables-restore}" --noflush'
    for program, lines in (("ipset restore", firewall.set_lines(change, removing=False)),
                           (restore, firewall.restore_lines(change))):
        if lines:
            yield from (f"{program} <<'LINES'", *lines, "LINES")

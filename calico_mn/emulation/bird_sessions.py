"""Which sessions of the BIRDs are down, and why: asked of both ends, their logs and the kernel.

In go the net and its BIRDs; out come pairs of speakers, each with a reason, empty where the session
is up::

    show protocols of both ends --> the end that knows more --> its log: since when, error in full
                                                            --> who listens on BIRD's port
                                                            --> why TCP does not work
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from calico_mn.bgp.birdc import BirdProtocol, downtime
from calico_mn.calico.underlay import Unreachable
from calico_mn.emulation.membership import ClusterMininet
from calico_mn.emulation.speakers import peerings_of
from calico_mn.errors import CalicoMnError, KernelError
from calico_mn.kernel import tcp

#: what BIRD says where it has no port to listen on (bgp_open() in its proto/bgp/bgp.c)
_NO_PORT = "No listening socket"
#: BIRD's last error -> what connect(2) would say
_ERRORS = {**{os.strerror(number): number for number in (
    errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT)},
    "Hold timer expired": errno.ETIMEDOUT, "Neighbor lost": errno.EHOSTUNREACH}

#: BIRD connects, and until it gives up its last error is none, or how the session before ended
_CONNECT = "Connect"
_UNTIL_THEN = ("", "Socket: Connection closed", f"Socket: {os.strerror(errno.ECONNRESET)}",
               "Received: Cease", "Error: BFD session down")

#: why TCP from the second node to the first one fails with an errno, in a few words
Diagnose = Callable[[str, str, int], str]


def down(net: ClusterMininet, diagnose: Diagnose) -> Unreachable:
    """The pairs of live speakers that peer, with why the session is down; empty if it is up."""
    assert net.birds is not None
    ends = peerings_of(net.cluster)
    states: dict[str, dict[str, BirdProtocol]] = {}
    silent: dict[str, str] = {}
    for name in net.birds.alive():
        try:
            states[name] = net.birds.protocols(name)
        except (KernelError, OSError) as error:
            states[name], silent[name] = {}, f"BIRD on {name} does not answer: {error}"
    known: dict[frozenset[str], list[tuple[bool, bool, bool, str, str, str]]] = {}
    for name in ends.keys() & states.keys():
        for end in ends[name]:
            if end.peer in states:
                protocol = states[name].get(end.name)
                is_down = not (protocol and protocol.is_up)
                has_port = not (protocol and _NO_PORT in protocol.error)
                known.setdefault(frozenset((name, end.peer)), []).append(
                    (is_down, has_port, end.is_passive, name, end.peer, end.name))
    reasons: Unreachable = {}
    for pair, items in known.items():
        # One protocol that is up is enough; the side that connects knows more than the other.
        is_down, _, _, name, peer, session = min(items)
        reasons[pair] = "" if not is_down else silent.get(name) or silent.get(peer) or _reason(
            net, name, peer, states[name].get(session), diagnose)
    return reasons


def _reason(net: ClusterMininet, node: str, peer: str, protocol: BirdProtocol | None,
            diagnose: Diagnose) -> str:
    if protocol is None:
        return f"BIRD on {node}: no such protocol"
    assert net.birds is not None
    if _NO_PORT in protocol.error:
        return f"BIRD on {node}: {protocol.error}: {_taken(net, node)}"
    log = downtime(net.birds.log_lines(node), protocol.name)
    # The log has more of the same error, such as the AS number that was found.
    error = log.error if protocol.error.rpartition(": ")[2] in log.error else protocol.error
    parts = [protocol.bgp_state or protocol.state, error if protocol.error else "", str(log)]
    number = next((code for text, code in _ERRORS.items() if text in protocol.error), 0)
    if protocol.bgp_state == _CONNECT and protocol.error in _UNTIL_THEN:
        number = errno.ETIMEDOUT
    cause = diagnose(peer, node, number) if number else ""
    return f"BIRD on {node}: {', '.join(filter(None, parts))}{f'; {cause}' if cause else ''}"


def _taken(net: ClusterMininet, node: str) -> str:
    """Who has BIRD's port; BIRD itself does not try again."""
    port = net.topology.bgp.listen_port
    try:
        owner = net.inside(node, tcp.listening, port)
    except (CalicoMnError, OSError):
        owner = None
    first = (f"{owner or 'another program'} listens on TCP port {port}: end it, then"
             if owner is not None else "try again with")
    return f"{first} 'calico-mn exec {node} -- birdc enable all'"

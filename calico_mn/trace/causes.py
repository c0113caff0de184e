"""The causes for which packets are dropped, each with the evidence that it takes. Pure.

    last seen                       checks, in the kernel's own order
    -----------------------------   ----------------------------------------------------------
    entering a switch               wrong-mac, device-down, too-big, unknown
    leaving by a cable              device-down, too-big, wrong-mac, wrong-host, lost-on-cable
    nowhere: send() failed          too-big, a route's causes, unknown
    before a lookup that failed     blackhole ..., not-forwarding, martian, rp-filter, no-route
    delivered to this host          wrong-host, not-decapsulated, no-reply
    routed to a next hop            ttl, too-big, device-down, no-neighbour, not-encapsulated

The first finding of a :data:`~calico_mn.trace.scene.Check` is the cause. A packet filter comes
before all of them: the kernel's own trace of a second packet is the proof
(:mod:`calico_mn.kernel.nftables`).
"""

from __future__ import annotations

import errno
import os

from calico_mn.kernel.read import NEIGHBOURS_FULL
from calico_mn.kernel.route_get import Query
from calico_mn.text import join
from calico_mn.trace import scene as of
from calico_mn.trace.path_trace import REPLY, Neighbour
from calico_mn.trace.recording import SWITCH
from calico_mn.trace.scene import CAUSE_OF_KIND, Check, Finding, Scene, silence


def checks(scene: Scene) -> tuple[Check, ...]:
    """Those that the last sighting leaves possible; the last one always finds something."""
    if scene.recording.filters:
        return (_filtered,)
    if scene.hop.kind == SWITCH and not scene.leaving:
        return of.IN_A_SWITCH
    if scene.crossing is not None and scene.leaving and scene.crossing.tunnel is None:
        return of.ON_A_CABLE
    routed = (_source_refused, _no_forwarding, _by_route, _no_route)
    if scene.crossing is None and scene.leg.kind != REPLY and scene.recording.refused:
        return _message_too_long, *routed, _send_refused
    if scene.answer.error or scene.answer.kind in CAUSE_OF_KIND:
        return *routed, _unexplained
    if scene.answer.kind == "local":
        return _not_encapsulated, _wrong_host, _not_decapsulated, _unexplained
    return (_echo_ignored, _ttl_expired, _too_big, _device_down, _no_neighbour, _neighbours_full,
            _other_rule, _not_encapsulated, _unexplained)


def _filtered(s: Scene) -> Finding:
    first = s.recording.filters[0]
    return Finding(of.FILTER, str(first), f"{s.namespace}'s packet filter drops it: '{first}'",
                   tuple(text for item in s.recording.filters for text in (
                       *([f"nftables, of a second such packet: {item}"] if item.seen else []),
                       *item.counters)),
                   "" if first.seen else "its counter rose when such a packet was sent again;"
                   " no trace shows the packet itself")


# --- send() failed in the source's own kernel

def _message_too_long(s: Scene) -> Finding | None:
    if s.recording.refused != "EMSGSIZE":
        return None
    mtu = s.mtu(s.answer)
    by = (f"path MTU {mtu}, learned from an ICMP error" if s.answer.learned
          else f"MTU {mtu} of {s.answer.device}")
    return Finding(of.TOO_BIG, by, f"{s.recording.probe.size} bytes with DF do not fit {by};"
                   f" {s.namespace}'s own kernel refused them")


def _send_refused(s: Scene) -> Finding:
    error = s.recording.refused
    if error == "EPERM":
        return Finding(of.FILTER, error, f"{s.namespace}'s own packet filter refuses to send it",
                       deduced="send() fails with EPERM when an output hook drops a packet")
    return Finding(of.UNKNOWN, error, f"{s.namespace}'s own kernel refused to send it: {error}")


# --- a lookup that ends the path

def _said(s: Scene) -> tuple[str, ...]:
    """The kernel's refusal, as evidence."""
    assert s.routing is not None
    number = vars(errno).get(s.answer.error)
    return (f"'{s.routing.query}' in {s.namespace} answers:"
            f" {os.strerror(number) if number else s.answer.error}",) if s.answer.error else ()


def _source_refused(s: Scene) -> Finding | None:
    """fib_validate_source(), for what has a route: EXDEV from the reverse path filter up to Linux
    6.12, EINVAL for any bad source.
    """
    query, answer = s.routing.query if s.routing else Query(""), s.answer
    device, source = s.facts.device(query.device), query.source
    if device is None or answer.kind not in ("unicast", "local") or answer.error not in (
            "EXDEV", "EINVAL"):
        return None
    own = next((at for name, at in s.owners(source) if name == s.namespace), "")
    if own and not device.accept_local:
        return Finding(
            of.MARTIAN, f"{source} dev {own}", f"{s.namespace} drops it because of its source:"
            f" {source} is {s.namespace}'s own as well, on {own}, and no packet from outside may"
            f" have it (accept_local=0 on {device.name})", _said(s))
    leaves = "lo" if answer.kind == "local" else answer.device
    lookup = Query(source, query.destination, leaves, unchecked=True)
    reverse = s.ask(s.namespace, lookup)
    mode = s.facts.effective("rp_filter", device.name)
    counted = "TcpExt.IPReversePathFilter" in s.counters
    evidence = (*_said(s), f"the way back in {s.namespace}, '{lookup}':"
                f" {reverse.line or reverse.rule or 'no route'}")
    if answer.error != "EXDEV" and not counted and not (
            mode == 1 and not reverse.leads_to(device.name)):
        return Finding(of.MARTIAN, answer.line, f"{source} is an impossible source on"
                       f" {device.name} of {s.namespace}", evidence)
    setting = f"rp_filter={mode} on {device.name}"
    rule = f", by rule '{reverse.rule}'" if reverse.rule else ""
    path = (f"to {source} it would send by {reverse.device} ('{reverse.line}'{rule})"
            if reverse.kind == "unicast" else
            f"it sends nothing to {source} ('{reverse.line}'{rule})" if reverse.line else
            f"it sends nothing to {source}{rule}" if rule else f"it has no route to {source}")
    return Finding(of.RP_FILTER, setting, f"{s.namespace} drops it because of its source:"
                   f" {source} came in by {device.name}, but {path}; {setting}", evidence)


def _no_forwarding(s: Scene) -> Finding | None:
    query = s.routing.query if s.routing else Query("")
    device = s.facts.device(query.device)
    if device is None or device.forwarding or s.answer.kind in ("local", "blackhole"):
        return None
    return Finding(of.NOT_FORWARDING, s.facts.no_forwarding(device.name),
                   f"{s.namespace} received a packet for {query.destination}, which is not its"
                   f" own, and does not forward what comes in by {device.name}", _said(s))


def _by_route(s: Scene) -> Finding | None:
    cause = CAUSE_OF_KIND.get(s.answer.kind)
    if cause is None or s.routing is None:
        return None
    by, destination = s.answer.rule or s.answer.line, s.routing.query.destination
    if s.answer.rule:
        line = f", which leads to '{s.answer.line}'" if s.answer.line else ""
        reason = f"{s.namespace} drops it by its policy rule '{by}'{line}"
    elif cause == of.BLACKHOLE:
        reason = (f"{s.namespace} drops it silently: no route more specific than '{by}' matches"
                  f" {destination}{_down(s)}")
    else:
        reason = f"{s.namespace} refuses it by '{by}'"
    return Finding(cause, by, reason, _said(s))


def _no_route(s: Scene) -> Finding | None:
    if s.answer.error not in ("ENETUNREACH", "EHOSTUNREACH") or s.routing is None:
        return None
    query = s.routing.query
    header = "the outer header's destination" if s.routing.outer else "the destination"
    no_error = ""
    if query.source and not s.ask(s.namespace, Query(query.source)).line:
        no_error = f", and none back to {query.source} for an ICMP error"
    return Finding(of.NO_ROUTE, "no route", f"{s.namespace} has no route to {header},"
                   f" {query.destination}{no_error}{_down(s)}", _said(s))


def _down(s: Scene) -> str:
    """Devices that are down: their routes are gone."""
    names = [device.name for device in s.facts.devices if device.kind == "veth" and not device.up]
    return f"; {join(names)} {'is' if len(names) == 1 else 'are'} down" if names else ""


# --- delivered here

def _wrong_host(s: Scene) -> Finding | None:
    wanted, address = s.recording.destination, s.leg.receiver
    if s.leg.kind == REPLY or s.crossing is None or s.namespace == wanted.name or (
            s.crossed.header.destination != address or len(s.crossed.layers) > 1):
        return None
    return Finding(of.WRONG_HOST, f"{address} of {s.namespace}", f"it was delivered to"
                   f" {s.namespace}, which has {address} as well as {wanted.name}")


def _not_decapsulated(s: Scene) -> Finding | None:
    """The outermost header is for this host, and the packet went no further."""
    encapsulation = s.crossing.encapsulation if s.crossing else None
    if encapsulation is None:
        return None
    tunnel = s.facts.device(encapsulation.device)
    state = (f"has no {encapsulation.device}" if tunnel is None
             else f"its {tunnel.name} is down" if not tunnel.up
             else f"its {tunnel.name} accepted it, but nothing came out")
    return Finding(of.NOT_DECAPSULATED, encapsulation.device,
                   f"the outer header is for {s.namespace}, and {state}")


def _echo_ignored(s: Scene) -> Finding | None:
    name = "icmp_echo_ignore_all"
    if (s.recording.probe.protocol, s.leg.kind) != ("icmp", REPLY) or not s.facts.settings.get(
            name):
        return None
    return Finding(of.NO_REPLY, f"net.ipv4.{name}=1", f"{s.namespace} answers no echo request:"
                   f" net.ipv4.{name} is 1")


# --- a route that leads on: what ip_forward() and ip_output() check, in their order

def _ttl_expired(s: Scene) -> Finding | None:
    if s.crossing is None or s.leaving or s.crossing.ttl > 1:
        return None
    names = [hop.namespace for hop in s.leg.hops if hop.kind != SWITCH]
    loop = ""
    if names.count(s.namespace) > 1:
        start = names.index(s.namespace)
        turn = names[start:names.index(s.namespace, start + 1) + 1]
        loop = f"; it went round in a loop: {' > '.join(turn)}, {names.count(s.namespace)} times"
    return Finding(of.TTL, f"TTL {s.crossing.ttl}", f"its TTL was {s.crossing.ttl} when it reached"
                   f" {s.namespace}, which would have had to forward it{loop}")


def _too_big(s: Scene) -> Finding | None:
    crossing = s.crossing
    # VXLAN's outer header has no DF: what does not fit is fragmented.
    if crossing is None or (s.leaving and crossing.macs is not None):
        return None
    header = crossing.header
    # The inner packet has to fit the tunnel device, then the outer one the uplink.
    routes = [(s.answer, s.tunnel.overhead if s.tunnel else 0)]
    if s.tunnel and not s.leaving:
        routes.insert(0, (s.inner, 0))
    for answer, overhead in routes:
        length, mtu = header.length + overhead, s.mtu(answer)
        # The eBPF tunnel makes no fragments.
        whole = header.dont_fragment or (overhead > 0 and s.recording.tunnel == "ebpf")
        if whole and 0 < mtu < length:
            by = (f"path MTU {mtu}, learned from an ICMP error" if answer.learned
                  else f"MTU {mtu} of {answer.device}")
            df = " with DF" if header.dont_fragment else ""
            return Finding(of.TOO_BIG, by, f"{length} bytes{df} do not fit {by} on {s.namespace}")
    return None


def _device_down(s: Scene) -> Finding | None:
    answer, device = s.answer, s.facts.device(s.answer.device)
    if device is None:
        return Finding(of.DEVICE_DOWN, answer.line, f"the route of {s.namespace} leads to no"
                       " device")
    if device.up and device.carrier:
        return None
    far, port, _end = s.far_end(s.namespace, device.name)
    other = f"; at its other end {port} of {far} is down" if far and device.up else ""
    state = "has no carrier" if device.up else "is down"
    return Finding(of.DEVICE_DOWN, answer.line, f"{device.name} of {s.namespace} {state}{other}")


def _no_neighbour(s: Scene) -> Finding | None:
    neighbour = s.hop.steps[-1] if s.hop.steps else None
    if not isinstance(neighbour, Neighbour) or neighbour.mac:
        return None
    requests = (f"{neighbour.requests} ARP requests on {neighbour.device}" if neighbour.requests
                else f"the neighbour entry is {neighbour.state}")
    why, setting = silence(s, neighbour)
    return Finding(of.NO_NEIGHBOUR, setting or s.answer.line, "no host answers for the next hop"
                   f" {neighbour.address}: {requests}; {why}",
                   (f"ARP for {neighbour.address} on {neighbour.device}: asked"
                    f" {neighbour.requests} times, no answer; the entry is"
                    f" {neighbour.state or 'gone'}",))


def _neighbours_full(s: Scene) -> Finding | None:
    """neigh_alloc() in net/core/neighbour.c; the packet's own output then drops it."""
    if NEIGHBOURS_FULL not in s.counters:
        return None
    hop = s.routing.next_hop if s.routing else "the next hop"
    return Finding(of.NO_NEIGHBOUR, "net.ipv4.neigh.default.gc_thresh3", "the kernel's neighbour"
                   " table, which all namespaces share, was full:"
                   f" {s.namespace} could make no entry for {hop}")


def _other_rule(s: Scene) -> Finding | None:
    """A policy rule that asks for a mark, protocol or port, which the lookup here has not."""
    answer = s.inner if s.tunnel and not s.leaving else s.answer
    if not answer.skipped or s.leaving:
        return None
    action = answer.skipped.split()[-1]
    return Finding(CAUSE_OF_KIND.get(action, of.UNKNOWN), answer.skipped,
                   f"{s.namespace} has the policy rule '{answer.skipped}', which comes before"
                   f" '{answer.line}', and no capture saw the packet leave",
                   deduced="the rule decides: it asks for more than addresses and device")


def _not_encapsulated(s: Scene) -> Finding | None:
    if s.tunnel is None:
        return None
    device, macs = s.tunnel.device, s.crossing.macs if s.crossing and s.leaving else None
    if macs is not None and not s.facts.tunnel_destination(device, macs[1]):
        return Finding(of.NOT_ENCAPSULATED, f"bridge fdb: none for {macs[1]}",
                       f"{device} of {s.namespace} has no forwarding entry for {macs[1]}, and so no"
                       " outer destination")
    if s.answer.kind == "local" or s.answer.device == device:
        where = device if s.answer.device == device else f"{s.namespace} itself"
        return Finding(of.NOT_ENCAPSULATED, s.answer.line, f"the outer packet's route in"
                       f" {s.namespace}, '{s.answer.line}', leads to {where}")
    return Finding(of.NOT_ENCAPSULATED, s.answer.line, f"{device} of {s.namespace} accepted it, and"
                   " no packet with an outer header came out",
                   deduced="dropped inside the tunnel device")


def _unexplained(s: Scene) -> Finding:
    """All that can be looked at is ruled out."""
    answer = s.answer
    last = ("it was delivered, but no answer was seen" if answer.kind == "local"
            else f"the kernel refuses it: {answer.error}" if answer.error
            else f"the route '{answer.line}' leads on, but no capture saw it leave")
    return Finding(of.NO_REPLY if s.leg.kind == REPLY else of.UNKNOWN, answer.line,
                   f"{s.namespace}: {last}", _said(s),
                   "by something that leaves no trace: a program, a tc filter, or a setting that"
                   " was not looked at")

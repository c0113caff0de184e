"""BIRD's configuration of a router with BGP, such as one at the top of a rack. Pure.

In go the router's peerings (:class:`RouterSpeaker`); out comes one text. It is a stock router, and
has nothing of Calico's templates::

    protocol kernel          learned routes become kernel routes, equal ones one with several hops
    protocol bgp, other AS   on a shared subnet: a next hop there is kept, else it is the router
    protocol bgp, same AS    reflects; what came from another AS gets the router as next hop

The router announces what it learned by BGP and nothing of its own. Its connected subnets and the
underlay's static routes are in BIRD's table for one purpose: to find the way to a next hop.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from calico_mn.bgp.peerings import Peering
from calico_mn.bgp.timers import BFD_MULTIPLIER, CALICO, Timers


@dataclass(frozen=True, slots=True)
class RouterSpeaker:
    """A router as its BIRD is configured; ``node`` is its name, ``subnets`` are connected."""

    node: str
    router_id: IPv4Address
    as_number: int
    subnets: tuple[IPv4Network, ...]
    peerings: tuple[Peering, ...]
    timers: Timers = CALICO

    def is_direct(self, peering: Peering) -> bool:
        """Whether the peer is of another AS, and on a subnet that the router has an interface in.

        Next hops on such a subnet are kept from one direct session to another
        (``bgp_use_next_hop`` in BIRD's ``proto/bgp/attrs.c``; RFC 4271 §5.1.3).
        """
        return peering.as_number != self.as_number and any(
            peering.address in subnet and peering.local in subnet for subnet in self.subnets)


def router_configuration(router: RouterSpeaker) -> str:
    """The text of the router's bird.conf."""
    return "\n".join((f"# BIRD of {router.node}, a router of AS {router.as_number}",
                      _base(router),
                      *(line for peering in router.peerings for line in _session(router, peering)),
                      ""))


def _base(router: RouterSpeaker) -> str:
    timers = router.timers
    session = ("" if timers.hold == CALICO.hold else f"\n  hold time {timers.hold};") + (
        "\n  bfd on;" if timers.bfd else "")
    wait = "" if timers.restart_wait == CALICO.restart_wait else (
        f"graceful restart wait {timers.restart_wait};\n")
    bfd = f"""
protocol bfd {{
  interface "*" {{ interval {timers.bfd} ms; multiplier {BFD_MULTIPLIER}; }};
  multihop {{ interval {timers.bfd} ms; multiplier {BFD_MULTIPLIER}; }};
}}
""" if timers.bfd else ""
    return f"""
log stderr all;
router id {router.router_id};
{wait}protocol kernel {{
  learn;             # static routes of the underlay, on which next hops may lie
  persist;           # routes outlive BIRD
  scan time {timers.scan};
  graceful restart;
  merge paths on;    # equal next hops share the traffic
  metric 0;          # BIRD 2 would print metric 32
  ipv4 {{
    import all;
    export where source = RTS_BGP;
  }};
}}

protocol device {{
  scan time {timers.scan};
}}

protocol direct {{
  ipv4;
}}
{bfd}
template bgp bgp_template {{
  debug {{ states }};
  graceful restart;
  graceful restart time {timers.graceful_restart};
  connect delay time {timers.connect_delay};
  connect retry time {timers.connect_retry};
  error wait time {timers.error_wait},{timers.error_wait_most};{session}
}}"""


def _session(router: RouterSpeaker, peering: Peering) -> Iterator[str]:
    yield f"\n# {peering.peer}"
    yield f"protocol bgp {peering.name} from bgp_template {{"
    yield f"  local {peering.local} as {router.as_number};"
    port = f" port {peering.port}" if peering.port else ""
    yield f"  neighbor {peering.address}{port} as {peering.as_number};"
    ttl = peering.options.ttl_security
    yield "  direct;" if router.is_direct(peering) else f"  multihop{f' {ttl}' if ttl else ''};"
    if ttl:
        yield "  ttl security on;"
    if peering.is_passive:
        yield "  passive on;  # the peer connects"
    if peering.is_client:
        yield f"  rr client;\n  rr cluster id {router.router_id};"
    yield "  ipv4 {\n    import all;\n    export where source = RTS_BGP;"
    if peering.is_client:
        yield "    next hop self ebgp;"
    yield "  };\n}"

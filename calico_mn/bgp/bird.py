"""BIRD's configuration of a node, as confd renders it from Calico's templates. Pure.

In go what a node has (:class:`Speaker`); out comes one text, for BIRD 2 as distributions have it,
whose three parts are Calico's three files::

    bird_aggr.cfg     own blocks as blackholes; nothing inside them is announced
    bird_ipam.cfg     what is announced, and what is written to the kernel
    bird.cfg          kernel, devices, and a protocol for each peering

Calico's BIRD has a patch (``krt_tunnel``) that sends a route through tunl0; stock BIRD does the
same in the kernel's export filter with ``ifname``, ``onlink`` and ``gw``, in that order. From
``confd/etc/calico/confd/templates``; the timers are those of Calico's golden files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network

from calico_mn.bgp.peerings import Peering


@dataclass(frozen=True, slots=True)
class BirdPool:
    """An IPPool as a node's BIRD sees it.

    ``tunnel`` is the device, empty without encapsulation; with ``is_cross_subnet`` it is used only
    for next hops outside the node's own subnet. Routes of ``is_felix`` pools are left to Felix.
    """

    cidr: IPv4Network
    tunnel: str = ""
    is_cross_subnet: bool = False
    is_felix: bool = False


@dataclass(frozen=True, slots=True)
class Speaker:
    """A node as its BIRD is configured; ``port`` is the TCP port on which it listens."""

    node: str
    address: IPv4Interface
    as_number: int
    port: int
    blocks: tuple[IPv4Network, ...]
    pools: tuple[BirdPool, ...]
    peerings: tuple[Peering, ...]
    cluster_id: str = ""


def configuration(speaker: Speaker) -> str:
    """The text of the node's bird.cfg, with what it includes in Calico."""
    return "\n".join(("# BIRD of " + speaker.node, *_aggregation(speaker), *_pools(speaker),
                      *_bird(speaker), ""))


def _aggregation(speaker: Speaker) -> Iterator[str]:
    yield "\n# ---- bird_aggr.cfg: own blocks\n"
    blackholes = [block for block in speaker.blocks if block.prefixlen < 32]
    if blackholes:
        yield "protocol static {\n  ipv4;"
        yield from (f"  route {block} blackhole;" for block in blackholes)
        yield "}\n"
    yield "# Announce the block, nothing beneath it.\nfunction calico_aggr ()\n{"
    for block in speaker.blocks:
        yield f"  if ( net = {block} ) then {{ accept; }}"
        yield f"  if ( net ~ {block} ) then {{ reject; }}"
    yield "}"


def _pools(speaker: Speaker) -> Iterator[str]:
    yield """
# ---- bird_ipam.cfg: what is announced, and what is written to the kernel

function calico_export_to_bgp_peers (bool internal_peer)
{
  # Routes over a tunnel device of Felix's stay here.
  if (internal_peer) then {
    if defined(ifname) then { if ifname ~ "*.calico" then reject; }
  }
  calico_aggr();"""
    yield from (f"  if ( net ~ {pool.cidr} ) then {{ accept; }}" for pool in speaker.pools)
    yield """}

filter calico_kernel_programming {
  if ( source = RTS_DEVICE ) then { reject; }  # BIRD 2 would write connected routes again"""
    for pool in speaker.pools:
        yield f"  if ( net ~ {pool.cidr} ) then {{"
        yield from (f"    {line}" for line in _kernel(pool, speaker.address.network))
        yield "  }"
    yield "  accept;\n}"


def _kernel(pool: BirdPool, own_subnet: IPv4Network) -> Iterator[str]:
    if pool.is_felix:
        yield "reject;  # Felix writes routes over VXLAN"
        return
    if pool.tunnel:
        outside = f" && !( bgp_next_hop ~ {own_subnet} )" if pool.is_cross_subnet else ""
        yield "# krt_tunnel of Calico's BIRD; dest is unreachable without a way to the next hop"
        yield f"if ( source = RTS_BGP && dest != RTD_UNREACHABLE{outside} ) then {{"
        yield f'  ifname = "{pool.tunnel}";\n      onlink = true;\n      gw = bgp_next_hop;\n    }}'
    yield "accept;"


def _bird(speaker: Speaker) -> Iterator[str]:
    yield f"""
# ---- bird.cfg

log stderr all;
router id {speaker.address.ip};

protocol kernel {{
  learn;             # routes that others wrote, such as the CNI plug-in's to pods
  persist;           # routes outlive BIRD
  scan time 2;
  graceful restart;
  merge paths on;
  metric 0;          # BIRD 2 would print metric 32
  ipv4 {{
    import all;
    export filter calico_kernel_programming;
  }};
}}

protocol device {{
  scan time 2;
}}

protocol direct {{
  ipv4;
  interface -"cali*", -"kube-ipvs*", "*";
}}

template bgp bgp_template {{
  debug {{ states }};
  description "Connection to BGP peer";
  local {speaker.address.ip} port {speaker.port} as {speaker.as_number};
  multihop;
  graceful restart;
  connect delay time 2;
  connect retry time 5;
  error wait time 5,30;
}}"""
    yield from _peers(speaker, speaker.peerings)


def _peers(speaker: Speaker, peerings: Iterable[Peering]) -> Iterator[str]:
    before = None
    for peering in peerings:
        if peering.kind is not before:
            before = peering.kind
            yield f"\n# ---- peers: {peering.kind}"
        port = f" port {peering.port}" if peering.port else ""
        internal = str(peering.as_number == speaker.as_number).lower()
        yield f"\n# {peering.peer or 'no node of this cluster'}"
        yield f"protocol bgp {peering.name} from bgp_template {{"
        yield f"  neighbor {peering.address}{port} as {peering.as_number};"
        if peering.is_passive:
            yield "  passive on;  # the peer connects"
        if peering.is_client:
            yield f"  rr client;\n  rr cluster id {speaker.cluster_id};"
        yield f"""  graceful restart time 120;
  ipv4 {{
    gateway recursive;
    add paths on;
    import all;
    export filter {{
      calico_export_to_bgp_peers({internal});
      reject;
    }};
  }};
}}"""

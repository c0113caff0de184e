"""BIRD's configuration of a node, as confd renders it, and of a router with BGP. Pure.

In go what a node has (:class:`Speaker`), or a router (:class:`RouterSpeaker`); out comes one text,
for BIRD 2 as distributions have it. A node's has three parts, which are Calico's three files::

    bird_aggr.cfg     own blocks as blackholes; nothing inside them is announced
    bird_ipam.cfg     what is announced, and what is written to the kernel
    bird.cfg          kernel, devices, and a protocol for each peering

Calico's BIRD has a patch (``krt_tunnel``) that sends a route through tunl0; stock BIRD does the
same in the kernel's export filter with ``ifname``, ``onlink`` and ``gw``, in that order. From
``confd/etc/calico/confd/templates``. A router, such as one at the top of a rack, is a stock one::

    protocol kernel          learned routes become kernel routes, equal ones one with several hops
    protocol bgp, other AS   on a shared subnet: a next hop there is kept, else it is the router
    protocol bgp, same AS    reflects; what came from another AS gets the router as next hop

It announces what it learned by BGP and nothing of its own. Its connected subnets and the underlay's
static routes are in BIRD's table for one purpose: to find the way to a next hop. Timers that have
BIRD's own default are not written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from calico_mn.bgp import filters
from calico_mn.bgp.graph import HIGHEST_PREF
from calico_mn.bgp.peerings import Peering, next_hop_option
from calico_mn.bgp.timers import BFD_MULTIPLIER, CALICO, Timers
from calico_mn.bgp_resources import BGPFilter, SessionOptions


@dataclass(frozen=True, slots=True)
class BirdPool:
    """An IPPool as a node's BIRD sees it.

    ``tunnel`` is the device, empty without encapsulation; with ``is_cross_subnet`` it is used only
    for next hops outside the node's own subnet. BIRD writes no routes of an ``is_felix`` pool;
    those of pools that are not ``is_exported`` are announced to no peer.
    """

    cidr: IPv4Network
    tunnel: str = ""
    is_cross_subnet: bool = False
    is_felix: bool = False
    is_exported: bool = True


@dataclass(frozen=True, slots=True)
class Speaker:
    """A node as its BIRD is configured; ``port`` is the TCP port on which it listens.

    ``metric`` is that of the kernel's routes, 0 for none. Routes over ``felix_devices`` are
    Felix's, and no other node hears of them.
    """

    node: str
    address: IPv4Interface
    as_number: int
    port: int
    blocks: tuple[IPv4Network, ...]
    pools: tuple[BirdPool, ...]
    peerings: tuple[Peering, ...]
    cluster_id: str = ""
    timers: Timers = CALICO
    filters: tuple[BGPFilter, ...] = ()
    ignored_interfaces: tuple[str, ...] = ()
    metric: int = 0
    felix_devices: tuple[str, ...] = ()


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


def configuration(speaker: Speaker | RouterSpeaker) -> str:
    """The text of a node's bird.cfg, with what it includes in Calico, or of a router's."""
    if isinstance(speaker, RouterSpeaker):
        return "\n".join((
            f"# BIRD of {speaker.node}, a router of AS {speaker.as_number}", _router_base(speaker),
            *(line for peering in speaker.peerings for line in _router_session(speaker, peering)),
            ""))
    return "\n".join(("# BIRD of " + speaker.node, *_aggregation(speaker), *_pools(speaker),
                      *_bird(speaker), ""))


def _base(router_id: IPv4Address, timers: Timers, *, kernel: Sequence[str], direct: str,
          bfd: Sequence[str], session: str) -> str:
    """What all have in common: the kernel, devices, BFD, and the template of all sessions.

    ``kernel`` are the comments on learn, merge paths and metric, and what is exported there;
    ``bfd`` are the kinds of its sessions, ``session`` is the template's first half.
    """
    learn, merge, metric, export = kernel
    wait = "" if timers.restart_wait == CALICO.restart_wait else (
        f"graceful restart wait {timers.restart_wait};\n")
    interval = f"{{ interval {timers.bfd} ms; multiplier {BFD_MULTIPLIER}; }};\n"
    protocol_bfd = f"\nprotocol bfd {{\n{''.join(f'  {kind} {interval}' for kind in bfd)}}}\n"
    last = ("" if timers.hold == CALICO.hold else f"\n  hold time {timers.hold};") + (
        "\n  bfd on;" if timers.bfd else "")
    return f"""
log stderr all;
router id {router_id};
{wait}
protocol kernel {{
  learn;             # {learn}
  persist;           # routes outlive BIRD
  scan time {timers.scan};
  graceful restart;
  merge paths on;{merge}
  metric 0;          # BIRD 2 would print metric 32{metric}
  ipv4 {{
    import all;
    export {export};
  }};
}}

protocol device {{
  scan time {timers.scan};
}}

protocol direct {{
  ipv4;{direct}
}}
{protocol_bfd if timers.bfd else ""}
template bgp bgp_template {{
  debug {{ states }};{session}
  connect delay time {timers.connect_delay};
  connect retry time {timers.connect_retry};
  error wait time {timers.error_wait},{timers.error_wait_most};{last}
}}"""


# --- a node's


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

function reject_disabled_pools ()
{"""
    yield from (f"  if ( net ~ {pool.cidr} ) then {{ reject; }}" for pool in speaker.pools
                if not pool.is_exported)
    yield """}

function calico_export_to_bgp_peers (bool internal_peer)
{
  reject_disabled_pools();
  # Routes that Felix wrote stay here.
  if (internal_peer) then {"""
    others = (name for name in speaker.felix_devices if not name.endswith(".calico"))
    devices = " || ".join(f'ifname ~ "{name}"' for name in ("*.calico", *others))
    yield f"    if defined(ifname) then {{ if {devices} then reject; }}"
    of_felix = [pool for pool in speaker.pools if pool.is_felix]
    if any(not pool.tunnel.endswith(".calico") for pool in of_felix):
        yield '    if source = RTS_INHERIT && defined(ifname) && !( ifname ~ "cali*" ) then {'
        yield from (f"      if ( net ~ {pool.cidr} ) then {{ reject; }}" for pool in of_felix)
        yield "    }"
    yield "  }\n  calico_aggr();"
    yield from (f"  if ( net ~ {pool.cidr} ) then {{ accept; }}" for pool in speaker.pools
                if pool.is_exported)
    yield """}

filter calico_kernel_programming {
  if ( source = RTS_DEVICE ) then { reject; }  # BIRD 2 would write connected routes again"""
    if speaker.metric:
        yield f"""  if ( source = RTS_BGP ) then {{
    krt_metric = {speaker.metric};
    if ( bgp_local_pref > 100 ) then {{ krt_metric = {HIGHEST_PREF} - bgp_local_pref; }}
    if ( krt_metric < {speaker.metric} ) then {{ preference = 200; }}
  }}"""
    for pool in speaker.pools:
        yield f"  if ( net ~ {pool.cidr} ) then {{"
        yield from (f"    {line}" for line in _kernel(pool, speaker.address.network))
        yield "  }"
    yield "  accept;\n}"


def _kernel(pool: BirdPool, own_subnet: IPv4Network) -> Iterator[str]:
    if pool.is_felix:
        yield "reject;  # Felix's"
        return
    if pool.tunnel:
        outside = f" && !( bgp_next_hop ~ {own_subnet} )" if pool.is_cross_subnet else ""
        yield "# krt_tunnel of Calico's BIRD; dest is unreachable without a way to the next hop"
        yield f"if ( source = RTS_BGP && dest != RTD_UNREACHABLE{outside} ) then {{"
        yield f'  ifname = "{pool.tunnel}";\n      onlink = true;\n      gw = bgp_next_hop;\n    }}'
    yield "accept;"


def _bird(speaker: Speaker) -> Iterator[str]:
    ignored = "".join(f'-"{device}", ' for device in speaker.ignored_interfaces)
    yield "\n# ---- bird.cfg\n" + _base(
        speaker.address.ip, speaker.timers, bfd=("multihop",), kernel=(
            "routes that others wrote, such as the CNI plug-in's to pods", "",
            "; krt_metric counts", "filter calico_kernel_programming"),
        direct=f"""
  interface {ignored}-"cali*", -"kube-ipvs*", "*";""",
        session=f"""
  description "Connection to BGP peer";
  local {speaker.address.ip} port {speaker.port} as {speaker.as_number};
  multihop;
  graceful restart;""")
    if speaker.filters:
        yield "\n# ---- BGPFilters"
        yield from filters.functions(speaker.filters)
    yield from _peers(speaker)


def _peers(speaker: Speaker) -> Iterator[str]:
    before = None
    known = {item.name: item for item in speaker.filters}
    for peering in speaker.peerings:
        if peering.kind is not before:
            before = peering.kind
            yield f"\n# ---- peers: {peering.kind}"
        port = f" port {peering.port}" if peering.port else ""
        is_external = peering.as_number != speaker.as_number
        imports, exports = (filters.calls(peering.options.filters, known, direction,
                                          is_external=is_external)
                            for direction in (filters.IMPORT, filters.EXPORT))
        preference = (
            f"if ( !defined(krt_metric) ) then {{ krt_metric = {speaker.metric}; }}",
            f"if ( source != RTS_BGP ) then {{ bgp_local_pref = {HIGHEST_PREF} - krt_metric; }}",
            ) if speaker.metric else ()
        yield f"\n# {peering.peer or 'no node of this cluster'}"
        yield f"protocol bgp {peering.name} from bgp_template {{"
        yield f"  neighbor {peering.address}{port} as {peering.as_number};"
        if peering.is_passive:
            yield "  passive on;  # the peer connects"
        if peering.is_client:
            yield f"  rr client;\n  rr cluster id {speaker.cluster_id};"
        yield from (f"  {line}" for line in _session(peering.options, speaker.timers))
        yield "  ipv4 {\n    gateway recursive;\n    add paths on;"
        if next_hop := next_hop_option(peering.options, is_external):
            yield f"    next hop {next_hop};"
        yield from _filter("import", imports, "accept;") if imports else ["    import all;"]
        yield from _filter("export", (*preference, *exports), (
            f"calico_export_to_bgp_peers({str(not is_external).lower()});"), "reject;")
        yield "  };\n}"


def _session(options: SessionOptions, timers: Timers) -> Iterator[str]:
    yield f"graceful restart time {options.restart_time or timers.graceful_restart};"
    # BIRD 2 would refuse all of its configuration; without it keepalives come thrice a hold time.
    if 0 < options.keepalive_time <= timers.hold:
        yield f"keepalive time {options.keepalive_time};"
    if options.ttl_security:
        yield f"ttl security on;\n  multihop {options.ttl_security};"
    if options.allowed_local_as:
        yield f"allow local as {options.allowed_local_as};"


def _filter(direction: str, statements: Iterable[str], *last: str) -> Iterator[str]:
    yield f"    {direction} filter {{"
    yield from (f"      {statement}" for statement in (*statements, *last))
    yield "    };"


# --- a router's

def _router_base(router: RouterSpeaker) -> str:
    return _base(
        router.router_id, router.timers, bfd=('interface "*"', "multihop"), direct="", kernel=(
            "static routes of the underlay, on which next hops may lie",
            "    # equal next hops share the traffic", "", "where source = RTS_BGP"),
        session=f"""
  graceful restart;
  graceful restart time {router.timers.graceful_restart};""")


def _router_session(router: RouterSpeaker, peering: Peering) -> Iterator[str]:
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

"""What is asked where a packet was dropped: nftables, the wanted state, BGP.

In go a cluster, a recording and its first path trace; out comes the recording with the answers. To
see what drops it there, the packet is sent a second time, while the kernel traces it through
nftables (:mod:`calico_mn.kernel.nftables`) and between two readings of iptables' counters. These
work with iptables-legacy too (:func:`rises`), but count every packet, not the probe alone.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from calico_mn.bgp.unlearned import Unlearned
from calico_mn.calico.encapsulation import ENCAPSULATIONS
from calico_mn.calico.policy.explain import Explainer
from calico_mn.emulation.speakers import peer_graph, peerings_of
from calico_mn.errors import CalicoMnError
from calico_mn.kernel import nftables
from calico_mn.kernel.ebpf import handover
from calico_mn.kernel.packets import ICMP, PROTOCOLS
from calico_mn.text import strip_control
from calico_mn.trace.follow import sort_frames
from calico_mn.trace.path_trace import FORWARD, OUT, Hop, PathTrace
from calico_mn.trace.recording import SWITCH, Filtered, Recording
from calico_mn.trace.wire import send

if TYPE_CHECKING:
    from calico_mn.emulation.net import CalicoNet

#: differences from the wanted state that are shown at most
_MAX_DIFFERENCES = 5
#: how long nftables may take to tell of a packet
_TELLING_S = 0.1
#: the programs that print all rules of a back end, whichever of them a node's rules are in
SAVE = {"nft": ("iptables-nft-save", "-c"), "legacy": ("iptables-legacy-save", "-c")}
_LINE = re.compile(r"\[(\d+):\d+\] -A (\S+) ?(.*)|:(\S+) (\S+) \[(\d+):\d+\]")
_TARGET = re.compile(r"(?:^| )-([jg]) (\S+)")
_DROPS = ("DROP", "REJECT")
_POLICY_CHAINS = ("cali-tw-", "cali-fw-", "cali-th", "cali-fh", "cali-pi-", "cali-po-", "cali-pri-",
                  "cali-pro-")


def looked_into(net: CalicoNet, recording: Recording, path: PathTrace) -> Recording:
    """With what else is asked where the packet was dropped: nftables, and the wanted state."""
    leg = path.forward if path.drop is None or path.drop.leg == FORWARD else path.reply
    hops = (leg or path.forward).hops
    last = hops[-1].crossings[-1] if hops[-1].crossings else None
    on_path = list(dict.fromkeys(hop.namespace for hop in hops))
    if last is not None:
        far = recording.cables.get((on_path[-1], last.device), ("", ""))[0]
        on_path += [far] if far in recording.kinds and far not in on_path else []
    differences = tuple(f"{difference.namespace}: {difference.clause}"
                        for difference in net.verify(on_path))[:_MAX_DIFFERENCES]
    on_cable = leg is not None and last is not None and last.direction == OUT and not last.tunnel
    target = leg.receiver if leg is not None else recording.source.address
    recording = dataclasses.replace(recording, differences=differences,
                                    unlearned=_unlearned(net, on_path, IPv4Address(target)))
    return recording if on_cable else _filtered(net, recording, hops[-1])


def _unlearned(net: CalicoNet, on_path: Sequence[str], target: IPv4Address) -> str:
    """Why the last speaker on the path, or the first one, did not learn of a pod's address."""
    cluster = net.cluster
    pool = next((pool for pool in net.topology.pools if target in pool.cidr), None)
    graph = peer_graph(cluster)
    # A router with which nothing peers is not there to learn anything.
    speakers = [name for name in on_path if name in graph.speakers and (
        name in cluster.nodes or graph.peers(name))]
    having = [(prefix, name) for name in cluster.nodes for prefix in cluster.originated(name)
              if target in prefix]
    if not speakers or not having or not pool:
        return ""
    prefix, owner = max(having, key=lambda item: item[0].prefixlen)
    if not pool.is_exported and owner != speakers[0]:
        return f"{owner} announces nothing of pool {pool.name}: disableBGPExport"
    first = next((name for name in on_path if name in cluster.nodes), "")
    if first and (neglect := cluster.routes.neglected(cluster.mode(first, pool))):
        return f"IPPool {pool.name}: {neglect}"
    unlearned = Unlearned(net.distributor, graph, peerings_of(cluster), prefix, owner)
    return next((why for name in dict.fromkeys((speakers[-1], speakers[0])) if not (
        name in cluster.nodes and not cluster.routes.by_bird(cluster.mode(name, pool)))
        and (why := unlearned.why(name))), "")


def _filtered(net: CalicoNet, recording: Recording, hop: Hop) -> Recording:
    """Send again and see what drops it there: nftables' trace, and iptables' counters."""
    name = hop.namespace
    before = {} if hop.kind == SWITCH else _saved(net, name)
    verdicts: list[nftables.Verdict] = []
    texts: list[str] = []
    untraced = ["legacy"]
    try:
        verdicts = _traced(net, recording, name)
        texts = [nftables.verdict_text(drop, net.filters.nft(
            name, ("nft", "-a", "list", "table", drop.family, drop.table)))
            for drop in verdicts if drop.dropped]
    except (CalicoMnError, OSError):  # a kernel without nftables, or no nft
        untraced = list(SAVE)
        _send_again(net, recording)
        time.sleep(_TELLING_S)
    after = _saved(net, name) if before else {}
    rose = [rise for back_end, listing in after.items() if back_end in before
            for rise in rises(back_end, before[back_end], listing)]
    addresses = tuple(item.addresses for item in verdicts
                      if item.addresses and item.packet == verdicts[-1].packet)
    ends = addresses[-1] if addresses else _ends(recording, hop)
    seen = []
    for drop, text in zip([item for item in verdicts if item.dropped], texts, strict=False):
        rules = [rise for rise in rose if rise.back_end == "nft"
                 and (rise.table, rise.chain) == (drop.table, drop.chains[-1])]
        if len(rules) == 1 and drop.handle:  # as iptables prints it: nft does not know all of it
            text = f"{rules[0].rule} {text[text.rindex('(table'):]}"
        seen.append(Filtered(
            drop.incoming, strip_control(text) + _policy(net, recording, drop.chains, ends),
            tuple(strip_control(str(rise)) for rise in rules)))
    counted = [Filtered(rise.hook in ("PREROUTING", "INPUT"),
                        strip_control(rise.words) + _policy(net, recording, [rise.chain], ends),
                        (strip_control(str(rise)),), seen=False)
               for rise in rose if rise.back_end in untraced]
    return dataclasses.replace(recording, filters=tuple(seen or counted), addresses=addresses)


def _ends(recording: Recording, hop: Hop) -> tuple[str, str]:
    """The addresses that the packet itself had when it was seen last, as NAT left them."""
    if not hop.crossings:
        return recording.source.address, recording.destination.address
    header = hop.crossings[-1].layers[-1].header
    return header.source, header.destination


def _traced(net: CalicoNet, recording: Recording, name: str) -> list[nftables.Verdict]:
    """What nftables makes of a second packet. Raises CalicoMnError or OSError if it can't tell."""
    is_switch, nft = recording.kinds[name] == SWITCH, net.filters.nft
    with net.inside(name, nftables.TraceListener) as listener:
        nft(name, nftables.APPLY,
            nftables.trace_rules(tuple(_matches(recording)), is_switch=is_switch))
        try:
            _send_again(net, recording)
            verdicts: list[nftables.Verdict] = listener.verdicts(_TELLING_S, handover.TABLE)
        finally:
            nft(name, nftables.APPLY, nftables.trace_removal(is_switch=is_switch))
    return verdicts


def _send_again(net: CalicoNet, recording: Recording) -> None:
    net.inside(recording.source.name, send, recording.probe, recording.mark,
               recording.destination.address)


def _saved(net: CalicoNet, name: str) -> dict[str, str]:
    """The rules of iptables in a namespace with their counters, of each back end that is there."""
    listings: dict[str, str] = {}
    for back_end, command in SAVE.items():
        with suppress(CalicoMnError, OSError):
            listings[back_end] = net.filters.run(name, command)
    return listings


def _policy(net: CalicoNet, recording: Recording, chains: Sequence[str], ends: tuple[str, str]
            ) -> str:
    """The network policy that decides, where one of Felix's chains for endpoints drops the probe.

    Of an end whose address NAT has changed, policies see only that address.
    """
    if not any(chain.startswith(_POLICY_CHAINS) for chain in chains):
        return ""
    explainer, probe = Explainer(net.cluster), recording.probe
    known = {**net.cluster.endpoints, **net.cluster.nodes}
    source, destination = (
        explainer.place(end.name if end.name in known and end.address == address else address)
        for end, address in zip((recording.source, recording.destination), ends, strict=True))
    verdict = explainer.explain(source, destination, PROTOCOLS[probe.protocol], probe.port)
    return next((f": {decision.title}, {decision.reason}"
                 for decision in verdict.decisions if not decision.allowed), "")


def _matches(recording: Recording) -> Iterator[str]:
    """The probe and its reply for nft, plain and in each encapsulation, by their identifiers.

    That is ICMP's, 4 bytes into its header, or a port.
    """
    protocol = PROTOCOLS[recording.probe.protocol]
    identifiers = ", ".join(map(str, sort_frames(recording).identifiers))
    for outer in (None, *ENCAPSULATIONS):
        begin = 8 * outer.overhead if outer else 0
        for offset in (32,) if protocol == ICMP else (0, 16):
            yield (f"ip protocol {outer.match.protocol if outer else protocol}"
                   f" @th,{begin + offset},16 {{ {identifiers} }}")


# --- the counters of iptables

@dataclass(frozen=True, slots=True)
class Rise:
    """A rule, or by ``number`` 0 a chain's policy, that drops, and its packets before and after.

    ``back_end`` is a key of :data:`SAVE`; ``rule`` is as iptables-save prints it after the chain;
    ``hook`` is the kernel's chain from which packets came to it, as ``FORWARD``.
    """

    back_end: str
    table: str
    chain: str
    number: int
    rule: str
    hook: str
    before: int
    after: int

    @property
    def words(self) -> str:
        """What drops, and where it is."""
        return (f"{self.rule} (iptables-{self.back_end}, table {self.table}, chain {self.chain},"
                f" hook {self.hook.lower()})")

    def __str__(self) -> str:
        item = f"rule {self.number} of chain" if self.number else "the policy of chain"
        return (f"counter of {item} {self.chain}, table {self.table} (iptables-{self.back_end}):"
                f" packets {self.before} -> {self.after}")


def rises(back_end: str, before: str, after: str) -> list[Rise]:
    """The drops that counted packets between two listings, in the order of the second one."""
    earlier = _counters(before)
    rose = {key: packets for key, packets in _counters(after).items()
            if packets > earlier.get(key, 0)}
    called = {(table, match[2]): chain for table, chain, _, rule in rose
              if (match := _TARGET.search(rule))}
    result = []
    for (table, chain, number, rule), packets in rose.items():
        match = _TARGET.search(rule)
        if (match is None or match[2] not in _DROPS) if number else rule == "policy ACCEPT":
            continue
        hook = chain
        for _ in rose:
            hook = called.get((table, hook), hook)
        result.append(Rise(back_end, table, chain, number, rule, hook,
                           earlier.get((table, chain, number, rule), 0), packets))
    return result


def _counters(listing: str) -> dict[tuple[str, str, int, str], int]:
    """(table, chain, number from 1, rule) -> packets; a chain's policy has the number 0."""
    counters: dict[tuple[str, str, int, str], int] = {}
    numbers: dict[tuple[str, str], int] = {}
    table = ""
    for line in listing.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif match := _LINE.match(line):
            packets, chain, rule, base, policy, dropped = match.groups()
            if chain:
                numbers[table, chain] = number = numbers.get((table, chain), 0) + 1
                counters[table, chain, number, rule] = int(packets)
            elif policy != "-":
                counters[table, base, 0, f"policy {policy}"] = int(dropped)
    return counters

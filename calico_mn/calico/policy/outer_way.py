"""What Felix's rules are to an outer IPIP packet, for a tunnel that need not ask them. Pure.

Out come the chains that such a packet passes and the rule that accepts it
(:class:`~calico_mn.rules.OuterWay`), and the sources that the rule accepts, as routes.
"""

from __future__ import annotations

from functools import lru_cache

from calico_mn import rules
from calico_mn.calico.encapsulation import WITH_BACK_END
from calico_mn.calico.policy.firewall import firewall
from calico_mn.calico.policy.node_chains import NodeFirewall, tables
from calico_mn.calico.policy.tunnel_rules import BETWEEN_NODES
from calico_mn.rules import OuterWay, RuleChain
from calico_mn.state import ALLOWED_SOURCES, Firewall, Route

#: the IP set of those whose packets are accepted
_SENDERS = BETWEEN_NODES[WITH_BACK_END].hosts
#: where the packet is led on from cali-PREROUTING
_PASSED = {"raw": ("cali-from-host-endpoint",), "mangle": ("cali-from-host-endpoint",),
           "nat": ("cali-fip-dnat",)}


def outer_way() -> OuterWay:
    """The way in nodes without policies of host endpoints for untracked packets or before DNAT.

    Those go into cali-from-host-endpoint of raw and mangle.
    """
    node = NodeFirewall(enabled=(WITH_BACK_END,))
    digests = {item.key: item.digests for item in rules.expected(firewall(tables(node), {}))
               if isinstance(item, RuleChain)}
    return OuterWay(
        {(table, chain): digests[table, chain] for table, chains in _PASSED.items()
         for chain in ("PREROUTING", "cali-PREROUTING", *chains)},
        {("filter", chain): digests["filter", chain][0] for chain in ("INPUT", "cali-INPUT")},
        _SENDERS)


def allowed_sources(node: Firewall | None) -> tuple[Route, ...]:
    """The senders that the rule accepts as routes; the same ones for nodes with the same set."""
    return _blackholes(node.sets.get(_SENDERS, frozenset())) if node else ()


@lru_cache(maxsize=100)
def _blackholes(members: frozenset[str]) -> tuple[Route, ...]:
    return tuple(Route(member, kind="blackhole", table=ALLOWED_SOURCES)
                 for member in sorted(members))

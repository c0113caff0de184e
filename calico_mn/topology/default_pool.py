"""Calico's default pool, made from ``CALICO_IPV4POOL_*`` when the file has no IPPool.

The rules are those of calico-node's start-up (``node/pkg/lifecycle/startup/startup.go``): names of
modes in any case, a bad value is fatal there and a problem here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network

from calico_mn.model import EncapsulationMode
from calico_mn.topology import drafts as d
from calico_mn.topology.fields import Located
from calico_mn.topology.problems import NOWHERE, Mark, Report, listing, quote
from calico_mn.topology.readers import parse_network
from calico_mn.topology.resources import (
    ENVIRONMENT_NAMES,
    ENVIRONMENT_PREFIX,
    NO_SELECTOR,
    NO_VXLAN,
)

POOL_NAME = "default-ipv4-ippool"
DEFAULT_CIDR = "192.168.0.0/16"

_MODES = {
    "": EncapsulationMode.NEVER,
    "off": EncapsulationMode.NEVER,
    "never": EncapsulationMode.NEVER,
    "crosssubnet": EncapsulationMode.CROSS_SUBNET,
    "cross-subnet": EncapsulationMode.CROSS_SUBNET,
    "always": EncapsulationMode.ALWAYS,
}
# Go's strconv.ParseBool.
_BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}


def add_default_pool(report: Report, drafts: d.Drafts, environ: Mapping[str, str]) -> None:
    """Add the default pool when the file has none; variables in the file win over ``environ``."""
    if drafts.pools_given:
        if drafts.environment:
            report.warn(
                f"{listing(drafts.environment)} in calico-node's env has no effect: the file has "
                "an IPPool, and Calico reads these variables only when there is none."
            )
        return
    variables = _Variables(report, drafts.environment, environ)
    if variables.boolean("NO_DEFAULT_POOLS", False):
        if variables.get(ENVIRONMENT_PREFIX + "CIDR").value:
            variables.refuse("NO_DEFAULT_POOLS", "cannot be true when CALICO_IPV4POOL_CIDR is set",
                             "unset one of the two")
        return
    ipip = variables.mode("IPIP")
    vxlan = variables.mode("VXLAN")
    never = EncapsulationMode.NEVER
    if vxlan is not never and ipip is not never:
        variables.refuse("CALICO_IPV4POOL_VXLAN", "and CALICO_IPV4POOL_IPIP cannot both be other "
                         "than Never", "a pool has one encapsulation")
    elif vxlan is not never:
        variables.refuse("CALICO_IPV4POOL_VXLAN", f"is {vxlan}: {NO_VXLAN}", "set it to Never")
    selector = variables.get("CALICO_IPV4POOL_NODE_SELECTOR")
    if selector.value not in ("", "all()"):
        variables.refuse("CALICO_IPV4POOL_NODE_SELECTOR",
                         f"is {quote(selector.value)}: {NO_SELECTOR}", "unset it")
    if variables.boolean("CALICO_IPV4POOL_DISABLE_BGP_EXPORT", False):
        report.leave_out_field("variable", "CALICO_IPV4POOL_DISABLE_BGP_EXPORT")
    nat = variables.boolean("CALICO_IPV4POOL_NAT_OUTGOING", True)
    block_size = variables.block_size()
    cidr = variables.cidr()
    if cidr is None:
        return
    if cidr.value.prefixlen > block_size:
        variables.refuse("CALICO_IPV4POOL_CIDR",
                         f"{cidr.value} is smaller than one block of /{block_size}",
                         "use a larger range, or a larger CALICO_IPV4POOL_BLOCK_SIZE")
    drafts.pools.append(d.PoolDraft(
        Located(POOL_NAME, NOWHERE), cidr, block_size, ipip, nat, False,
        "this is Calico's default pool, for want of an IPPool in the file: add one, or set "
        "CALICO_IPV4POOL_CIDR to another range",
    ))


@dataclass(frozen=True, slots=True)
class _Variables:
    """The variables with their places; problems name the variable."""

    report: Report
    file: Mapping[str, Located[str]]
    environ: Mapping[str, str]

    def get(self, name: str) -> Located[str]:
        assert name in ENVIRONMENT_NAMES
        return self.file.get(name) or Located(self.environ.get(name, ""), NOWHERE)

    def refuse(self, name: str, what: str, hint: str) -> None:
        mark: Mark = self.get(name).mark
        where = name if mark.line else f"environment variable {name}"
        self.report.add(f"{where} {what}", mark, hint)

    def mode(self, short: str) -> EncapsulationMode:
        name = ENVIRONMENT_PREFIX + short
        value = self.get(name).value
        mode = _MODES.get(value.lower())
        if mode is None:
            guess = self.report.guess(value, ("Always", "CrossSubnet", "Never"))
            self.refuse(name, f"is {quote(value)}",
                        guess or "use Always, CrossSubnet or Never")
        return mode or EncapsulationMode.NEVER

    def boolean(self, name: str, default: bool) -> bool:
        value = self.get(name).value
        if value == "":
            return default
        if value not in _BOOLEANS:
            self.refuse(name, f"is {quote(value)}", "use true or false")
        return _BOOLEANS.get(value, default)

    def block_size(self) -> int:
        name = ENVIRONMENT_PREFIX + "BLOCK_SIZE"
        value = self.get(name).value or "26"
        if not (len(value) == 2 and value.isascii() and value.isdigit()
                and 20 <= int(value) <= 32):
            self.refuse(name, f"is {quote(value)}", "use a number from 20 to 32")
            return 26
        return int(value)

    def cidr(self) -> Located[IPv4Network] | None:
        name = ENVIRONMENT_PREFIX + "CIDR"
        given = self.get(name)
        label = name if given.mark.line else f"environment variable {name}"
        network = parse_network(self.report, given.value or DEFAULT_CIDR, given.mark, label)
        if network is not None and not isinstance(network, IPv4Network):
            self.refuse(name, f"{network} is not an IPv4 range", "use one such as 10.22.0.0/16")
            return None
        return Located(network, given.mark) if network is not None else None

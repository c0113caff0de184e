"""Calico's default pool, made from ``CALICO_IPV4POOL_*`` when the file has no IPPool.

The rules are those of calico-node's start-up (``node/pkg/lifecycle/startup/startup.go``): names of
modes in any case, a bad value is fatal there and a problem here.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network

from calico_mn.model import EncapsulationMode, IPPool
from calico_mn.text import join_some, quote
from calico_mn.topology import calico_kinds, kubernetes_kinds
from calico_mn.topology.calico_kinds import NEVER
from calico_mn.topology.kubernetes_kinds import ENVIRONMENT_PREFIX
from calico_mn.topology.problems import NO_MARK, Mark, Report
from calico_mn.topology.readers import parse_network
from calico_mn.topology.schema import Resources, made

POOL_NAME = "default-ipv4-ippool"
DEFAULT_CIDR = "192.168.0.0/16"

_MODES = {
    "": NEVER,
    "off": NEVER,
    "never": NEVER,
    "crosssubnet": EncapsulationMode.CROSS_SUBNET,
    "cross-subnet": EncapsulationMode.CROSS_SUBNET,
    "always": EncapsulationMode.ALWAYS,
}
# Go's strconv.ParseBool.
_BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}


def add_default_pool(report: Report, resources: Resources, environ: Mapping[str, str]) -> None:
    """Add the default pool when the file has none; variables in the file win over ``environ``."""
    variables = _Variables(report, resources, environ)
    if resources.of(calico_kinds.IP_POOL):
        if variables.in_file:
            report.warn(
                f"{join_some(variables.in_file, 40)} in calico-node's env has no effect: the file "
                "has an IPPool, and Calico reads these variables only when there is none."
            )
        return
    if variables.boolean("NO_DEFAULT_POOLS", False):
        if variables.get(ENVIRONMENT_PREFIX + "CIDR"):
            variables.refuse("NO_DEFAULT_POOLS", "cannot be true when CALICO_IPV4POOL_CIDR is set",
                             "unset one of the two")
        return
    ipip, vxlan = variables.mode("IPIP"), variables.mode("VXLAN")
    if vxlan is not NEVER and ipip is not NEVER:
        variables.refuse("CALICO_IPV4POOL_VXLAN", "and CALICO_IPV4POOL_IPIP cannot both be other "
                         "than Never", "a pool has one encapsulation")
    elif vxlan is not NEVER:
        variables.refuse("CALICO_IPV4POOL_VXLAN", f"is {vxlan}: {calico_kinds.NO_VXLAN}",
                         "set it to Never")
    selector = variables.get("CALICO_IPV4POOL_NODE_SELECTOR")
    if selector not in ("", "all()"):
        variables.refuse("CALICO_IPV4POOL_NODE_SELECTOR",
                         f"is {quote(selector)}: {calico_kinds.NO_SELECTOR}", "unset it")
    if variables.boolean("CALICO_IPV4POOL_DISABLE_BGP_EXPORT", False):
        report.ignore_field("variable", "CALICO_IPV4POOL_DISABLE_BGP_EXPORT")
    nat = variables.boolean("CALICO_IPV4POOL_NAT_OUTGOING", True)
    block_size, cidr = variables.block_size(), variables.cidr()
    if cidr is None:
        return
    if cidr.prefixlen > block_size:
        variables.refuse("CALICO_IPV4POOL_CIDR",
                         f"{cidr} is smaller than one block of /{block_size}",
                         "use a larger range, or a larger CALICO_IPV4POOL_BLOCK_SIZE")
    resources.add(report, calico_kinds.IP_POOL, made(
        IPPool, variables.mark(ENVIRONMENT_PREFIX + "CIDR"), name=POOL_NAME, cidr=cidr,
        block_size=block_size, ipip_mode=ipip, nat_outgoing=nat,
        cidr_hint="this is Calico's default pool, which a file without an IPPool gets: add one, or "
        "set CALICO_IPV4POOL_CIDR to another range"))


class _Variables:
    """The variables, in the file or in the environment; problems name the variable."""

    def __init__(self, report: Report, resources: Resources, environ: Mapping[str, str]) -> None:
        self.in_file: dict[str, tuple[str, Mark]] = {}
        self._report = report
        self._environ = environ
        for daemon_set in resources.of(kubernetes_kinds.DAEMON_SET):
            for variable in kubernetes_kinds.environment(daemon_set):
                name = variable.get("name", "")
                if name in kubernetes_kinds.ENVIRONMENT_NAMES and "valueFrom" not in variable.given:
                    self.in_file[name] = variable.get("value", ""), variable.at("value", "name")

    def get(self, name: str) -> str:
        return self.in_file[name][0] if name in self.in_file else self._environ.get(name, "")

    def mark(self, name: str) -> Mark:
        return self.in_file[name][1] if name in self.in_file else NO_MARK

    def label(self, name: str) -> str:
        return name if name in self.in_file else f"environment variable {name}"

    def refuse(self, name: str, what: str, hint: str) -> None:
        self._report.add(f"{self.label(name)} {what}", self.mark(name), hint)

    def mode(self, short: str) -> EncapsulationMode:
        name = ENVIRONMENT_PREFIX + short
        value = self.get(name)
        mode = _MODES.get(value.lower())
        if mode is None:
            hint = self._report.did_you_mean(value, ("Always", "CrossSubnet", "Never"))
            self.refuse(name, f"is {quote(value)}", hint or "use Always, CrossSubnet or Never")
        return mode or NEVER

    def boolean(self, name: str, default: bool) -> bool:
        value = self.get(name)
        if value and value not in _BOOLEANS:
            self.refuse(name, f"is {quote(value)}", "use true or false")
        return _BOOLEANS.get(value, default)

    def block_size(self) -> int:
        name = ENVIRONMENT_PREFIX + "BLOCK_SIZE"
        value = self.get(name) or "26"
        if value in map(str, range(20, 33)):
            return int(value)
        self.refuse(name, f"is {quote(value)}", "use a number from 20 to 32")
        return 26

    def cidr(self) -> IPv4Network | None:
        name = ENVIRONMENT_PREFIX + "CIDR"
        network = parse_network(self._report, self.get(name) or DEFAULT_CIDR, self.mark(name),
                                self.label(name))
        if network is not None and not isinstance(network, IPv4Network):
            self.refuse(name, f"{network} is not an IPv4 range", "use one such as 10.22.0.0/16")
            return None
        return network

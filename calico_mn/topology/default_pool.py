"""Calico's default pool: what calico-node makes from ``CALICO_IPV4POOL_*`` when there is no IPPool.

The variables are those of calico-node's DaemonSet in the file, and otherwise those of the process.
The rules are those of calico-node's start-up (``node/pkg/lifecycle/startup/startup.go``): names of
modes in any case; a bad value is fatal there and a problem here.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network

from calico_mn.model import IPPool
from calico_mn.text import join_some
from calico_mn.topology import schema as s
from calico_mn.topology.calico_kinds import IP_POOL, check_pool
from calico_mn.topology.calico_node import PREFIX, VARIABLES
from calico_mn.topology.problems import NO_MARK, Report
from calico_mn.topology.workload_kinds import DAEMON_SET
from calico_mn.topology.yaml_tree import Scalar


def add_default_pool(report: Report, resources: s.Resources, environ: Mapping[str, str]) -> None:
    """Add the default pool when the file has none; variables in the file win over ``environ``."""
    in_file: dict[str, Scalar] = {}
    for daemon_set in resources.of(DAEMON_SET):
        in_file.update(daemon_set.get("environment", {}))
    if resources.of(IP_POOL):
        if in_file:
            report.warn(
                f"{join_some(in_file, 40)} in calico-node's env has no effect: the file has an "
                "IPPool, and Calico reads these variables only when there is none."
            )
        return
    pool: s.Resource[IPPool] = s.Resource(NO_MARK)
    pool.set("name", "default-ipv4-ippool", NO_MARK)
    pool.set("nat_outgoing", True, NO_MARK)
    for name, field in VARIABLES.items():
        value = in_file.get(name) or Scalar(environ.get(name, ""), False, NO_MARK)
        if value.text:
            pool.read(report, field, value,
                      name if name in in_file else f"environment variable {name}")
    if pool.get("no_default_pools"):
        if pool.has("cidr"):
            report.add(f"{pool.labels['no_default_pools']} cannot be true when {PREFIX}CIDR is "
                       "set", pool.at("no_default_pools"), "unset one of the two")
        return
    if pool.get("disable_bgp_export"):
        report.ignore_field("variable", f"{PREFIX}DISABLE_BGP_EXPORT")
    if "cidr" not in pool.labels:
        pool.set("cidr", IPv4Network("192.168.0.0/16"), NO_MARK)
    pool.values["cidr_hint"] = ("this is Calico's default pool, which a file without an IPPool "
                                f"gets: add one, or set {PREFIX}CIDR to another range")
    check_pool(report, pool)
    resources.add(report, IP_POOL, pool.make(IPPool))

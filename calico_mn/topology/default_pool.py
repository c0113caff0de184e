"""Calico's default pool: what calico-node makes from ``CALICO_IPV4POOL_*`` when there is no IPPool.

The variables are those of calico-node's DaemonSet in the file, and otherwise those of the process.
The rules are those of calico-node's start-up (``node/pkg/lifecycle/startup/startup.go``): names of
modes in any case; a bad value is fatal there and a problem here.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network

from calico_mn.model import EncapsulationMode, IPPool
from calico_mn.text import join, join_some, quote, suggest
from calico_mn.topology import readers as r
from calico_mn.topology import schema as s
from calico_mn.topology.calico_kinds import IP_POOL, NEVER, check_pool
from calico_mn.topology.kubernetes_kinds import APPS, NAMESPACE, POD_SPEC, TEMPLATE_META
from calico_mn.topology.problems import NO_MARK, Report
from calico_mn.topology.yaml_tree import Scalar, Tree

_PREFIX = "CALICO_IPV4POOL_"
_MODES = {
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


def _mode(tree: Tree) -> EncapsulationMode:
    word = r.text(tree)
    if word.lower() in _MODES:
        return _MODES[word.lower()]
    known = [mode.value for mode in EncapsulationMode]
    close = suggest(word, known, cutoff=0.7)
    raise r.InvalidValueError(f"is {quote(word)}", f"did you mean {quote(close)}?" if close else
                              f"use {join(known, 'or')}")


def _boolean(tree: Tree) -> bool:
    word = r.text(tree)
    if word in _BOOLEANS:
        return _BOOLEANS[word]
    raise r.InvalidValueError(f"is {quote(word)}", "use true or false")


def _block_size(tree: Tree) -> int:
    word = r.text(tree)
    if word in map(str, range(20, 33)):
        return int(word)
    raise r.InvalidValueError(f"is {quote(word)}", "use a number from 20 to 32")


# The variables, each with the attribute of the pool that it sets; empty ones set nothing.
VARIABLES = {
    _PREFIX + "CIDR": s.Field(r.network, "cidr"),
    _PREFIX + "IPIP": s.Field(_mode, "ipip_mode"),
    _PREFIX + "VXLAN": s.Field(_mode, "vxlan_mode"),
    _PREFIX + "BLOCK_SIZE": s.Field(_block_size, "block_size"),
    _PREFIX + "NAT_OUTGOING": s.Field(_boolean, "nat_outgoing"),
    _PREFIX + "NODE_SELECTOR": s.Field(r.text, "node_selector"),
    _PREFIX + "DISABLE_BGP_EXPORT": s.Field(_boolean, "disable_bgp_export"),
    "NO_DEFAULT_POOLS": s.Field(_boolean, "no_default_pools"),
}

_ENV = s.List({
    "name": s.Field(r.text, "name"),
    "value": s.Field(r.text, "value"),
    "valueFrom": {s.REST: s.Special.BOOKKEEPING},
}, s.Unmodelled, name="env")
_CONTAINERS = s.List({
    **s.bookkeeping(
        "args command envFrom image imagePullPolicy lifecycle livenessProbe ports "
        "readinessProbe resizePolicy resources restartPolicy restartPolicyRules securityContext "
        "startupProbe stdin stdinOnce terminationMessagePath terminationMessagePolicy tty "
        "volumeDevices volumeMounts workingDir"
    ),
    "name": s.Field(r.text, "name"),
    "env": _ENV,
}, s.Unmodelled, name="containers")


def _check_daemon_set(report: Report, daemon_set: s.Resource[s.Unmodelled]) -> bool:
    """Take the variables of the container calico-node, and put them into ``environment``."""
    environment: dict[str, Scalar] = {}
    for container in daemon_set.entries(_CONTAINERS):
        for variable in container.entries(_ENV) if container.get("name") == "calico-node" else ():
            name = variable.get("name", "")
            if name not in VARIABLES:
                if name.startswith(_PREFIX):
                    report.add(f"unknown variable {quote(name)} in the env of calico-node",
                               variable.at("name"), report.did_you_mean(name, VARIABLES))
            elif "valueFrom" in variable.given:
                report.add(f"{name} has no value here, only a reference", variable.at("name"),
                           "write value: and the text that the reference stands for")
            else:
                environment[name] = Scalar(variable.get("value", ""), False,
                                           variable.at("value", "name"))
    daemon_set.values["environment"] = environment
    return True


DAEMON_SET = s.Kind(s.resource_table({**s.META, **NAMESPACE}, spec={
    "template": {
        "metadata": {**TEMPLATE_META, "annotations": s.Special.BOOKKEEPING},
        "spec": {**POD_SPEC, "hostNetwork": s.Special.BOOKKEEPING, "containers": _CONTAINERS},
    },
    **s.bookkeeping("minReadySeconds revisionHistoryLimit selector updateStrategy"),
}), s.Unmodelled, _check_daemon_set, api=APPS, name="DaemonSet", only="calico-node")


def add_default_pool(report: Report, resources: s.Resources, environ: Mapping[str, str]) -> None:
    """Add the default pool when the file has none; variables in the file win over ``environ``."""
    in_file: dict[str, Scalar] = {}
    for daemon_set in resources.of(DAEMON_SET):
        in_file.update(daemon_set.get("environment"))
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
            report.add(f"{pool.labels['no_default_pools']} cannot be true when {_PREFIX}CIDR is "
                       "set", pool.at("no_default_pools"), "unset one of the two")
        return
    if pool.get("disable_bgp_export"):
        report.ignore_field("variable", f"{_PREFIX}DISABLE_BGP_EXPORT")
    if "cidr" not in pool.labels:
        pool.set("cidr", IPv4Network("192.168.0.0/16"), NO_MARK)
    pool.values["cidr_hint"] = ("this is Calico's default pool, which a file without an IPPool "
                                f"gets: add one, or set {_PREFIX}CIDR to another range")
    check_pool(report, pool)
    resources.add(report, IP_POOL, pool.make(IPPool))

"""calico-node's environment variables, as a file's DaemonSet gives them.

The rules are those of calico-node's start-up (``node/pkg/lifecycle/startup/startup.go``): names of
modes in any case; a bad value is fatal there and a problem here.
"""

from __future__ import annotations

from typing import Any

from calico_mn.model import EncapsulationMode
from calico_mn.text import join, quote, suggest
from calico_mn.topology import readers as r
from calico_mn.topology import schema as s
from calico_mn.topology.problems import Report
from calico_mn.topology.yaml_tree import Scalar, Tree

#: of the DaemonSet, and of its container
NAME = "calico-node"
NEVER = EncapsulationMode.NEVER
PREFIX = "CALICO_IPV4POOL_"
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
    PREFIX + "CIDR": s.Field(r.network, "cidr"),
    PREFIX + "IPIP": s.Field(_mode, "ipip_mode"),
    PREFIX + "VXLAN": s.Field(_mode, "vxlan_mode"),
    PREFIX + "BLOCK_SIZE": s.Field(_block_size, "block_size"),
    PREFIX + "NAT_OUTGOING": s.Field(_boolean, "nat_outgoing"),
    PREFIX + "NODE_SELECTOR": s.Field(r.text, "node_selector"),
    PREFIX + "DISABLE_BGP_EXPORT": s.Field(_boolean, "disable_bgp_export"),
    "NO_DEFAULT_POOLS": s.Field(_boolean, "no_default_pools"),
}

ENV = s.List({
    "name": s.Field(r.text, "name"),
    "value": s.Field(r.text, "value"),
    "valueFrom": {s.REST: s.Special.BOOKKEEPING},
}, s.Unmodelled, name="env")
CONTAINERS = s.List({
    **s.bookkeeping(
        "args command envFrom image imagePullPolicy lifecycle livenessProbe ports "
        "readinessProbe resizePolicy resources restartPolicy restartPolicyRules securityContext "
        "startupProbe stdin stdinOnce terminationMessagePath terminationMessagePolicy tty "
        "volumeDevices volumeMounts workingDir"
    ),
    "name": s.Field(r.text, "name"),
    "env": ENV,
}, s.Unmodelled, name="containers")



def read_variables(report: Report, daemon_set: s.Resource[Any]) -> dict[str, Scalar]:
    """The variables of the container calico-node that have an effect."""
    environment: dict[str, Scalar] = {}
    for container in daemon_set.entries(CONTAINERS):
        for variable in container.entries(ENV) if container.get("name") == NAME else ():
            name = variable.get("name", "")
            if name not in VARIABLES:
                if name.startswith(PREFIX):
                    report.add(f"unknown variable {quote(name)} in the env of calico-node",
                               variable.at("name"), report.did_you_mean(name, VARIABLES))
            elif "valueFrom" in variable.given:
                report.add(f"{name} has no value here, only a reference", variable.at("name"),
                           "write value: and the text that the reference stands for")
            else:
                environment[name] = Scalar(variable.get("value", ""), False,
                                           variable.at("value", "name"))
    return environment

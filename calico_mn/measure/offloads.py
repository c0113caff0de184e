"""Segmentation and receive offloads of a cluster's devices, switched for a while by ethtool.

Three of them decide how large the packets are that travel between virtual devices:

    tso   the device takes a TCP packet of up to 64 kB uncut; a veth passes it on as it is
    gso   the kernel cuts such a packet just before a device that would not take it
    gro   packets that arrive one by one are put together again; on a veth also a way of its own
          for packets to come in (NAPI, veth_set_features in drivers/net/veth.c)

Which single features an ethtool name stands for is the kernel's to say
(include/linux/netdev_features.h): restoring goes by the single ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from calico_mn.calico.encapsulation import ENCAPSULATIONS, UPLINK
from calico_mn.errors import ToolError
from calico_mn.kernel import read
from calico_mn.measure.paths import Net, Pair
from calico_mn.measure.programs import Host, ending, run
from calico_mn.measure.readings import Reading, Value

if TYPE_CHECKING:
    from calico_mn.emulation.net import CalicoNet

_TIMEOUT_S = 10.0

#: what ethtool -K calls them -> what ethtool -k prints
SWITCHES = {
    "tso": "tcp-segmentation-offload",
    "gso": "generic-segmentation-offload",
    "gro": "generic-receive-offload",
}
#: the feature that Felix v3.25 switches off on vxlan.calico (ChecksumOffloadBroken in
#: felix/environment/feature_detect_linux.go), and later versions on old kernels only
CHECKSUM = "tx-checksum-ip-generic"


@dataclass(frozen=True, slots=True)
class Feature:
    """A line of ``ethtool -k``; what is ``fixed`` cannot be switched.

    A ``group`` stands for the indented lines that follow it.
    """

    on: bool
    fixed: bool
    group: bool = False


@dataclass(frozen=True, slots=True)
class Switched:
    """The result for one device.

    ``changed`` maps features, by ethtool's long names, to their new state, those included that
    the kernel switched along with them. ``refused``: which of :data:`SWITCHES` are not as asked
    for, because the kernel does not let them be.
    """

    node: str
    device: str
    changed: Mapping[str, bool]
    refused: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.device} of {self.node}"


#: in ``seen``: the devices whose offloads were off for a reading; empty for none
OFFLOADS_OFF = "offloads_off"


def noted(switched: Iterable[Switched]) -> dict[str, Value]:
    """What was switched off, for a reading's ``seen``."""
    return {OFFLOADS_OFF: ", ".join(map(str, switched))}


def switched_off(readings: Iterable[Reading]) -> list[str]:
    """The devices that :func:`noted` names, of each reading that has some; each list once."""
    return sorted({str(reading.seen.get(OFFLOADS_OFF) or "") for reading in readings} - {""})


@contextmanager
def offloads(net: CalicoNet, names: Iterable[str], enabled: bool, *,
             switches: Iterable[str] = tuple(SWITCHES)) -> Iterator[tuple[Switched, ...]]:
    """Switch tso, gso and gro of the devices of pods and nodes while the block runs.

    ``names`` as in ``net[name]``; ``switches`` of :data:`SWITCHES`, all by default. The devices
    are those that are there: a pod's eth0; a node's eth0, tunl0 and cali devices. Afterwards
    every feature of every device is as it was, also after an exception. Gives what was changed,
    a device each, those included that were as asked for already. Raises ToolError when ethtool
    is not there or fails, and when a device cannot be put back to what it was.
    """
    wanted = tuple(switches)
    with ExitStack() as stack:
        done = []
        for host in [net[name] for name in names]:
            for device in _devices(net, host):
                before = features(host, device)
                stack.callback(_restore, host, device, before)
                done.append(_switch(host, device, before, wanted, enabled))
        yield tuple(done)


@contextmanager
def pair_offloads(net: Net, pair: Pair, *, off: bool, nodes: bool = True
                  ) -> Iterator[tuple[Switched, ...]]:
    """Those of a pair's pods, and of their ``nodes``: switched off, or left as they are."""
    names = dict.fromkeys(name for end in (pair.source, pair.destination)
                          for name in ((end.name, end.node) if nodes else (end.name,)))
    with offloads(cast("CalicoNet", net), names, False) if off else nullcontext(()) as switched:
        yield switched


@contextmanager
def checksum_offload(net: Net, pair: Pair, device: str, *, off: bool) -> Iterator[None]:
    """That of a tunnel device on a pair's nodes: switched off, or left as it is."""
    with ExitStack() as stack:
        for name in {pair.source.node, pair.destination.node} if off else ():
            host = net[name]
            if device in _devices(cast("CalicoNet", net), host):
                stack.callback(_restore, host, device, features(host, device))
                _ethtool(host, ["-K", device, CHECKSUM, "off"])
        yield


def parse(output: str) -> dict[str, Feature]:
    """All features that ``ethtool -k`` prints."""
    decoded: dict[str, Feature] = {}
    above = ""
    for line in output.splitlines()[1:]:
        name, _, value = line.partition(":")
        state = value.split()
        if state[:1] not in (["on"], ["off"]):
            continue
        if not line.startswith("\t"):
            above = name
        elif above in decoded:
            decoded[above] = replace(decoded[above], group=True)
        decoded[name.strip()] = Feature(state[0] == "on", "[fixed]" in state)
    return decoded


def to_switch(features: Mapping[str, Feature], switches: Iterable[str], enabled: bool
              ) -> list[str]:
    """The arguments for ``ethtool -K`` that bring about what is asked for, as far as it can be."""
    arguments = []
    for short in switches:
        feature = features.get(SWITCHES[short])
        if feature is not None and feature.on is not enabled and not feature.fixed:
            arguments += [short, _word(enabled)]
    return arguments


def to_restore(before: Mapping[str, Feature], now: Mapping[str, Feature]) -> list[str]:
    """The arguments for ``ethtool -K`` that put every single feature back.

    Not the groups: switching one on switches all of it on, and not all need have been.
    """
    arguments = []
    for name, feature in before.items():
        if not feature.group and name in now and now[name].on is not feature.on:
            arguments += [name, _word(feature.on)]
    return arguments


def _word(on: bool) -> str:
    return "on" if on else "off"


def _switch(host: Host, device: str, before: Mapping[str, Feature], switches: tuple[str, ...],
            enabled: bool) -> Switched:
    arguments = to_switch(before, switches, enabled)
    if arguments:
        _ethtool(host, ["-K", device, *arguments])
    after = features(host, device) if arguments else before
    return Switched(
        host.name, device,
        {name: after[name].on for name in before if after[name].on is not before[name].on},
        tuple(short for short in switches
              if SWITCHES[short] in after and after[SWITCHES[short]].on is not enabled))


def _restore(host: Host, device: str, before: Mapping[str, Feature]) -> None:
    arguments = to_restore(before, features(host, device))
    if arguments:
        _ethtool(host, ["-K", device, *arguments])
    left = [name for name, feature in features(host, device).items() if before[name] != feature]
    if left:
        raise ToolError(f"{host.name}: {device}: could not be put back to what it was:"
                        f" {', '.join(left)}")


def features(host: Host, device: str) -> dict[str, Feature]:
    """All features of a device. Raises ToolError when ethtool is not there or fails."""
    return parse(_ethtool(host, ["-k", device]))


def _ethtool(host: Host, arguments: list[str]) -> str:
    argv = ["ethtool", *arguments]
    finished = run(host, argv, _TIMEOUT_S)
    if finished.status:
        reason = finished.err.strip() or ending(finished.status)
        raise ToolError(f"{host.name}: {' '.join(argv)}: {reason}")
    return finished.out


def _devices(net: CalicoNet, host: Host) -> list[str]:
    """A pod's eth0; a node's uplink, tunnels and cali devices."""
    ours = (UPLINK, *(encapsulation.device for encapsulation in ENCAPSULATIONS))
    return [device.name for device in net.inside(host.name, read.facts).devices
            if device.name in ours or device.name.startswith("cali")]

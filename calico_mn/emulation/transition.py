"""From the cluster that runs to another one: route engine, kernel and Mininet's tables follow.

In goes a :class:`~calico_mn.calico.cluster.Cluster` that was made aside; out come the deltas that
it takes. What a newcomer needs comes first, all or none, and then what others make of it::

    new ports -> new nodes -> nodes of new pods -> new pods | new addresses -> others -> what goes

Where the kernel refuses what is left of the line, all is as before. What is right of it follows
:meth:`.KernelWriter.apply`: a damaged place does not stop the others.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from calico_mn.bgp.engine import RouteEngine
from calico_mn.calico.cluster import Cluster
from calico_mn.calico.encapsulation import WITH_BACK_END, Encapsulation
from calico_mn.delta import Delta, creation, delta
from calico_mn.emulation import plan, speakers
from calico_mn.emulation.membership import ClusterMininet
from calico_mn.errors import KernelError, UnsupportedError
from calico_mn.kernel.tunnel import NoTunnel
from calico_mn.model import EncapsulationMode
from calico_mn.state import Bridge, Namespace, Veth


@dataclass(frozen=True, slots=True)
class Transition:
    """The states on the way, in order; ``ports`` and ``addresses`` are steps to those of others."""

    ports: Sequence[Namespace]
    nodes: Sequence[Namespace]
    hosts: Sequence[Namespace]
    pods: Sequence[Namespace]
    addresses: Sequence[Namespace]
    others: Sequence[Namespace]
    going: Sequence[str]

    @classmethod
    def between(cls, before: Mapping[str, Namespace], hosts: Sequence[Namespace],
                pods: Sequence[Namespace]) -> Transition:
        """From these states by name to those of all hosts and pods."""
        coming = {state.name for state in (*hosts, *pods) if state.name not in before}
        staying = [state for state in hosts if state.name in before]
        ports, addresses, receiving = {}, {}, []
        for state in staying:
            known = before[state.name]
            new = [device for device in state.devices
                   if isinstance(device, Veth) and device.peer.namespace in coming]
            if any(isinstance(device, Bridge) for device in state.devices):
                if new:
                    ports[state.name] = replace(known, devices=(*known.devices, *new))
            elif new:
                receiving.append(state)
            elif addresses_changed := _readdressed(known, state):
                addresses[state.name] = addresses_changed
        others = [state for state in staying if state not in receiving]
        # A node keeps its old address until all others know the new one.
        others.sort(key=lambda state: state.name in addresses)
        remaining = {state.name for state in (*hosts, *pods)}
        return cls(tuple(ports.values()), [state for state in hosts if state.name in coming],
                   receiving, [state for state in pods if state.name in coming],
                   tuple(addresses.values()), others,
                   [name for name in before if name not in remaining])

    def deltas(self, before: Mapping[str, Namespace]) -> Iterator[Delta]:
        """What it takes, in order."""
        states = dict(before)
        for wanted in (*self.ports, *self.nodes, *self.hosts, *self.pods, *self.addresses,
                       *self.others):
            known = states.get(wanted.name)
            change = creation(wanted) if known is None else delta(known, wanted)
            states[wanted.name] = wanted
            if change:
                yield change


def _readdressed(before: Namespace, wanted: Namespace) -> Namespace | None:
    """A node with its old addresses and the new ones of the same devices; None without such."""
    new = [address for address in wanted.addresses if address not in before.addresses]
    if new:
        devices = {address.device for address in before.addresses} & {
            device.name for device in before.devices if device in wanted.devices}
        new = [address for address in new if address.device in devices]
    return replace(before, addresses=(*before.addresses, *new)) if new else None


def become(net: ClusterMininet, after: Cluster, *, dry_run: bool = False) -> tuple[Delta, ...]:
    """Let the net's cluster be ``after``; the changes that it takes, which a dry run only tells.

    Raises UnsupportedError for IPIP where no tunl0 can be had, for more BGP sessions than the
    machine can bear, and for a dry run with an engine that cannot be copied; KernelError. Where
    that names a place that newcomers need, nothing has changed; where another one is damaged,
    everything else is as wanted.
    """
    before, runtime = net.cluster, net.runtime
    if after.uses(WITH_BACK_END) and isinstance(runtime.tunnel, NoTunnel):
        raise UnsupportedError(f"no {WITH_BACK_END} here, since {runtime.tunnel.reason}")
    if net.birds:
        net.birds.refuse_too_many(after, before)
        speakers.forget_changed_peers(after, before)
    engine = _copied(net.distributor) if dry_run else net.distributor
    present = dict(runtime.states)
    speakers.follow(engine, after, before)
    pods = [present.get(key) or after.pod_state(key) for key in after.endpoints]
    hosts = plan.announced_states(after, engine, present)
    transition = Transition.between(present, hosts, pods)
    deltas = tuple(transition.deltas(present))
    if dry_run:
        return deltas
    coming = [*transition.nodes, *transition.pods]
    net.cluster = after  # by which a node's BIRD makes way for what its new pods come with
    try:
        runtime.create(coming, {key: pod.node for key, pod in after.endpoints.items()})
        runtime.writer.change(transition.ports)
        runtime.writer.fill(transition.nodes)
        runtime.writer.change(transition.hosts)
        runtime.writer.fill(transition.pods)
    except BaseException:
        net.cluster = before
        speakers.follow(engine, before, after)
        with suppress(KernelError):
            runtime.writer.apply(present[state.name]
                                 for state in (*transition.ports, *transition.hosts))
        runtime.discard([state.name for state in coming])
        with suppress(KernelError):
            net.follow_routes()
        raise
    after.datastore_changed()  # All have heard of it.
    if after.routes.profile != before.routes.profile:
        runtime.directory.note(profile=after.routes.profile.name)
    for name in transition.going:
        net.detach(name)
    net.membership.attach_new()
    if net.birds is not None:  # its peers hear of it while it is still connected
        net.birds.end(transition.going)
    try:
        with suppress(KernelError):  # What a damaged node lacks is told below.
            runtime.writer.change(transition.addresses)
        runtime.writer.apply(transition.others)
    finally:
        runtime.discard(transition.going)
        net.filters.forget(transition.going)
        net.impairments.forget(transition.going)
        net.follow_routes()
    return deltas


def refuse_tunnel(cluster: Cluster, mode: EncapsulationMode | None,
                  encapsulation: Encapsulation | None, pool: str | None, reason: str) -> None:
    """Raise UnsupportedError where a change of modes needs a tunnel back end, and there is none.

    ``pool`` names the one pool that changes, None means all of them.
    """
    for item in cluster.topology.pools:
        changed = cluster.mode_of_pool(item).changed(mode, encapsulation)
        if pool in (None, item.name) and changed.in_force.has_back_end:
            raise UnsupportedError(
                f"no {changed.in_force} mode {changed.mode} here, since {reason}")


def _copied(engine: RouteEngine) -> RouteEngine:
    """An engine to try a change on."""
    try:
        return copy.deepcopy(engine)
    except TypeError as error:
        raise UnsupportedError(f"no dry run with {engine.name}: {error}") from None

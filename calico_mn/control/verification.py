"""How a running cluster differs from what it should be, once or as that changes; its repair.

``watch`` reports differences, ``live`` the whole state, which the live page shows: each message is
an object with the parts that are new: ``run``, ``pools``, ``links``, ``differences``, ``drops``,
``dead``, ``exercise``; ``drawing`` is a number that rises when the drawing has to be made again,
``rerouted`` lists places whose main routing table is another one. Changes by verbs are seen in the
bookkeeping, those of other programs by the kernel's notifications.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from calico_mn.control.dispatcher import Job, operation
from calico_mn.control.queries import link_facts, pool_facts, refresh_sessions
from calico_mn.difference import Difference, Item, line
from calico_mn.emulation.verification import Change, Watch
from calico_mn.errors import ClusterError, KernelError
from calico_mn.kernel import read
from calico_mn.net import CalicoNet
from calico_mn.rules import RuleChain

#: how often it is looked whether something happened, and how often a message is sent at the least:
#: sending one shows whether the caller is still connected
_LOOK_S, _HEARTBEAT_S = 0.2, 1.0
#: how many places ``live`` verifies at a time where nothing was heard of, and how often, in seconds
_PORTION, _INTERVAL_S = 16, 1.0


def facts(net: CalicoNet, differences: Iterable[Difference]) -> list[dict[str, Any]]:
    """Differences for JSON; ``wanted`` and ``present`` are lines of ``ip``, or None."""
    def text(item: Item | None) -> str | None:
        back_end = f" (iptables-{net.iptables})" if isinstance(item, RuleChain) else ""
        return None if item is None else line(item) + back_end

    return [{"namespace": item.namespace, "kind": item.kind, "subject": item.subject,
             "wanted": text(item.wanted), "present": text(item.present),
             "failure": item.failure or None} for item in differences]


@operation("verify")
def verify(job: Job, places: list[str] | None = None) -> list[dict[str, Any]]:
    """What differs, in these places or in all."""
    refresh_sessions(job.net)
    return facts(job.net, job.net.verify(job.names(places)))


@operation("remarks")
def remarks(job: Job, places: list[str] | None = None) -> list[str]:
    """What fares differently because of the tunnel's back end, and BGP that is not as it was at
    the boot, in these places or in all; routes that nothing writes, or two.
    """
    names = job.names(places)
    return [*job.net.verifier.remarks(names), *job.net.cluster.route_warnings(),
            *(f"{name}: {text}" for name, text in job.net.bgp.remarks().items()
              if names is None or name in names)]


@operation("repair")
def repair(job: Job, places: list[str] | None = None) -> dict[str, Any]:
    """Repair these places, or all: the differences found, the commands, what is left and why."""
    done = job.net.repair(job.names(places))
    refresh_sessions(job.net)
    return {"found": facts(job.net, done.found),
            "done": [{"namespace": step.namespace, "commands": list(step.commands)}
                     for step in done.done],
            "remaining": facts(job.net, done.remaining), "failures": list(done.failures)}


@operation("watch", exclusive=False)
def watch(job: Job, places: list[str] | None = None) -> None:
    """Report differences as they appear and disappear, until the caller is gone or the run ends."""
    with job.lock():
        names = job.names(places)
        watching = job.net.watch()

    def news(is_due: bool) -> dict[str, Any]:
        if not is_due:
            return {}
        with job.lock():
            change = watching.look()
        changed = {key: facts(job.net, (item for item in items
                                        if names is None or item.namespace in names))
                   for key, items in (("appeared", change.appeared),
                                      ("disappeared", change.disappeared))}
        return changed if any(changed.values()) else {}

    _report(job, watching, news)


@operation("live", exclusive=False)
def live(job: Job) -> None:
    """Report the state, and then what changes, until the caller is gone or the run ends."""
    with job.lock():
        state = _State(job.net)
        watching = job.net.verifier.watch(_INTERVAL_S, _PORTION)

    def news(is_due: bool) -> dict[str, Any]:
        with job.lock():
            return state.news(watching.look() if is_due else Change())

    _report(job, watching, news)


def _report(job: Job, watching: Watch, news: Callable[[bool], dict[str, Any]]) -> None:
    """Send what is new; ``news`` is told whether there is a reason to look at the kernel."""
    with watching:
        last = 0.0
        while True:
            message = news(watching.wait(_LOOK_S))
            if message or time.monotonic() - last > _HEARTBEAT_S:
                job.progress(message)
                last = time.monotonic()


class _State:
    """What was reported so far of the cluster of ``net``."""

    def __init__(self, net: CalicoNet) -> None:
        self._net = net
        self._reported: dict[str, Any] = {}
        self._changed: dict[Any, Any] = {}
        self._links: list[dict[str, Any]] = []
        self._differences: list[Difference] = []
        self._down: dict[str, frozenset[str]] = {}
        self._tables: dict[str, tuple[object, ...]] = {}
        self._drawn: tuple[object, ...] = ()
        self._drawings = 0

    def news(self, change: Change) -> dict[str, Any]:
        """The parts of the state that are new; ``change`` says where to read the kernel again."""
        net, cluster = self._net, self._net.cluster
        self._differences = [item for item in self._differences
                             if item not in change.disappeared and item.namespace in net.states]
        self._differences += change.appeared
        rerouted = self._read(change.places)
        # Kept, so that a later cluster cannot have the same identity.
        drawn = (cluster, tuple(cluster.endpoints), tuple(cluster.nodes))
        if drawn != self._drawn:
            self._drawn, self._drawings = drawn, self._drawings + 1
        if change.places or net.impairments.present != self._changed:
            self._changed, self._links = dict(net.impairments.present), self._links_now()
        state: dict[str, Any] = {
            "run": {"name": net.runtime.directory.name, "nodes": len(net.nodes),
                    "pods": len(net.pods)},
            "pools": pool_facts(cluster), "drawing": self._drawings, "links": self._links,
            "differences": facts(net, self._differences),
            "drops": {name: list(map(str, drops)) for name, drops in net.filters.present.items()},
            "exercise": asdict(task) if (task := net.exercises.task) else None,
            "dead": [name for name in cluster.nodes if not net.distributor.is_alive(name)]}
        news = {key: value for key, value in state.items() if self._reported.get(key) != value}
        self._reported = state
        return {**news, "rerouted": rerouted} if rerouted else news

    def _read(self, places: Iterable[str]) -> list[str]:
        """Read devices and routes of these places; those whose routes are others than before."""
        rerouted = []
        for name in sorted(places):
            with suppress(ClusterError, KernelError, OSError):  # it is gone, or going
                self._down[name] = self._net.inside(name, read.devices_down)
                table = self._net.kernel_routes(name)
                if self._tables.get(name) != table:
                    self._tables[name] = table
                    rerouted.append(name)
        return rerouted

    def _links_now(self) -> list[dict[str, Any]]:
        """The links that are down or not as the topology has them.

        A link is ``up`` where the kernel has both of its ends up.
        """
        links = ({**link_facts(status), "up": not any(
            device in self._down.get(place, ()) for place, device in (status.end, status.far))}
            for status in self._net.impairments.all())
        return [link for link in links if link["changed"] or not link["up"]]

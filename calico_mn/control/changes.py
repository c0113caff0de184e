"""Changes to a running cluster, also those that break it, with the commands they amount to.

Modes, pods and other resources; links, packet filters, routers' routes and BGP speakers; exercises;
and the run's end.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from calico_mn.calico.encapsulation import named
from calico_mn.control.dispatcher import Job, operation
from calico_mn.control.queries import link_facts, refresh_sessions, speakers
from calico_mn.delta import Delta
from calico_mn.emulation import apply as change
from calico_mn.emulation.apply import Applied
from calico_mn.errors import ClusterError
from calico_mn.exercises.catalogue import listed
from calico_mn.kernel import iptext
from calico_mn.packetmatch import PROTOCOL_TCP, Drop, parse


def commands(changes: Iterable[Delta]) -> list[dict[str, Any]]:
    """The changes as commands, for each namespace."""
    return [{"namespace": change.namespace, "commands": iptext.commands(change)}
            for change in changes]


@operation("mode")
def mode(job: Job, mode: str, node: str | None = None, encapsulation: str | None = None,
         pool: str | None = None) -> dict[str, Any]:
    """Change the mode of all pools or of one, of one node alone or of the cluster.

    Without ``encapsulation`` each pool keeps its own.
    """
    if node is not None:
        job.require_node(node, ": only nodes have a mode")
    cluster = job.net.cluster
    names = {str(named(encapsulation))} if encapsulation else {
        str(cluster.mode_of_pool(item).encapsulation) for item in cluster.topology.pools
        if pool in (None, item.name)}
    before = job.net.warnings
    changes = job.net.set_mode(mode, node, encapsulation, pool)
    return {"mode": mode, "node": node, "pool": pool, "encapsulations": sorted(names),
            "changes": commands(changes),
            "warnings": [text for text in job.net.warnings if text not in before]}


@operation("pod-add")
def pod_add(job: Job, pod: str, node: str, ip: str | None = None) -> dict[str, Any]:
    """Run one more pod; ``pod`` is ``[NAMESPACE/]NAME``."""
    namespace, _, name = pod.rpartition("/")
    job.require_node(node, ": pods run on nodes")
    new = job.net.add_pod(namespace=namespace or "default", name=name, node=node, ip=ip)
    return {"pod": new.name, "ip": new.ip, "node": new.node, "interface": new.device}


@operation("pod-delete")
def pod_delete(job: Job, pod: str) -> dict[str, Any]:
    """End a pod and what runs in it."""
    name = job.pod(pod)
    endpoint = job.net.cluster.endpoints.get(name)
    job.net.delete_pod(name)
    return {"pod": name, "ip": str(endpoint.address) if endpoint else None}


@operation("down")
def down(job: Job) -> dict[str, Any]:
    """End the run once the caller has the answer."""
    job.on_reply = lambda: os.kill(os.getpid(), signal.SIGTERM)
    return {"pid": os.getpid()}


# --- resources

@operation("apply")
def apply(job: Job, texts: dict[str, str] | None = None, dry_run: bool = False) -> dict[str, Any]:
    """Lay the resources of ``texts``, by the names that messages have for them, over the cluster's.
    """
    return _answer(change.apply_texts(job.net, texts or {}, dry_run=dry_run))


@operation("delete")
def delete(job: Job, kinds: list[str] | None = None, names: list[str] | None = None,
           namespace: str | None = None, texts: dict[str, str] | None = None,
           lenient: bool = False, dry_run: bool = False) -> dict[str, Any]:
    """Delete the resources of ``texts``, or each of ``names``, which is of the kind beside it.

    ``lenient``: those of texts that are not there do not matter.
    """
    if texts:
        return _answer(change.delete_texts(job.net, texts, is_lenient=lenient, dry_run=dry_run))
    if not names or len(kinds or ()) != len(names):
        raise ClusterError("delete: there are as many kinds as names, at least one, or texts")
    return _answer(change.delete_resources(
        job.net, zip(kinds or (), names, strict=True), namespace, dry_run=dry_run))


@operation("scale")
def scale(job: Job, kind: str, name: str, replicas: int, namespace: str | None = None,
          dry_run: bool = False) -> dict[str, Any]:
    """Give a workload so many pods."""
    return _answer(job.net.scale(kind, name, replicas, namespace, dry_run=dry_run))


def _answer(applied: Applied) -> dict[str, Any]:
    """What became of each resource, the commands that it takes, and new warnings."""
    return {"resources": [{"kind": item.kind, "namespace": item.namespace or None,
                           "name": item.name, "reference": item.reference, "change": item.verb}
                          for item in applied.resources],
            "changes": commands(applied.deltas), "warnings": list(applied.warnings)}


# --- links

@operation("links")
def links(job: Job) -> list[dict[str, Any]]:
    """Every link with its ends and what is set."""
    return [link_facts(link) for link in job.net.impairments.all()]


@operation("link")
def link(job: Job, end: str, other: str | None = None, settings: dict[str, Any] | None = None
         ) -> dict[str, Any]:
    """Change a link; ``settings`` are fields of :class:`calico_mn.model.Link`."""
    return _changed(job, job.net.impairments.set(end, other or "", **settings or {}), end, other)


@operation("link-reset")
def link_reset(job: Job, end: str | None = None) -> dict[str, Any]:
    """Let a link, or all of them, be as the topology says."""
    return _changed(job, job.net.impairments.reset(end or ""), end)


def _changed(job: Job, changes: tuple[Delta, ...], end: str | None, other: str | None = None
             ) -> dict[str, Any]:
    refresh_sessions(job.net)
    links = [job.net.impairments.status(end, other or "")] if end else []
    return {"changes": commands(changes), "links": [link_facts(link) for link in links]}


# --- packet filters

@operation("drops")
def drops(job: Job) -> list[dict[str, Any]]:
    """What is dropped where, and how many packets so far."""
    return [_drop_facts(job, name, drop, packets)
            for name in job.net.filters.present
            for drop, packets in job.net.dropped(name).items()]


@operation("drop")
def drop(job: Job, place: str, what: str) -> dict[str, Any]:
    """Also drop packets of a kind in a place."""
    name, kind = _place(job, place), _kind(job, what)
    job.net.filters.add(name, kind)
    return _drop_facts(job, name, kind, job.net.dropped(name)[kind])


@operation("drop-reset")
def drop_reset(job: Job, place: str | None = None, what: str | None = None
               ) -> list[dict[str, Any]]:
    """Let packets of a kind, or of all, pass again in a place, or in all; what is still dropped."""
    job.net.filters.remove(_place(job, place) if place else None,
                           _kind(job, what) if what else None)
    return drops(job)


def _drop_facts(job: Job, name: str, kind: Drop, packets: int) -> dict[str, Any]:
    return {"place": name, "drop": str(kind), "hooks": job.net.filters.hooks(name, kind),
            "packets": packets}


def _place(job: Job, text: str) -> str:
    place, _, device = text.partition(":")
    name: str = job.node(place).name
    if device:
        raise ClusterError(f"{text}: a place drops on all of its devices: say {name}")
    return name


def _kind(job: Job, text: str) -> Drop:
    port = job.net.topology.bgp.listen_port
    return Drop(PROTOCOL_TCP, port=port) if text == "bgp" else parse(text)


# --- routes of the fabric, speakers

@operation("pod-routes")
def pod_routes(job: Job, enabled: bool | None = None) -> dict[str, Any]:
    """Give routers static routes to the pods' blocks, or take them away; or only say who has."""
    changes = job.net.set_pod_routes(enabled) if enabled is not None else ()
    return {"routers": sorted(job.net.cluster.pod_routers), "changes": commands(changes)}


@operation("speaker")
def speaker(job: Job, action: str, node: str) -> dict[str, Any]:
    """``kill`` or ``restart`` what distributes a node's routes."""
    speakers(job, node)
    if action == "kill":
        job.net.kill_speaker(node)
    changes = job.net.restart_speaker(node) if action == "restart" else ()
    return {"node": node, "alive": job.net.distributor.is_alive(node),
            "engine": job.net.distributor.name, "changes": commands(changes)}


# --- exercises

@operation("exercises")
def exercises(job: Job) -> dict[str, Any]:
    """All exercises by their symptoms, and the one under way."""
    task = job.net.exercises.task
    return {"exercises": listed(), "current": asdict(task) if task else None}


@operation("break")
def begin(job: Job, number: int | None = None, seed: int | None = None) -> dict[str, Any]:
    """Begin an exercise, of this number or by chance."""
    return asdict(job.net.exercises.begin(number, seed))


@operation("break-check")
def check(job: Job) -> dict[str, Any]:
    """Whether the exercise under way is solved."""
    return job.net.exercises.check()


@operation("hint")
def hint(job: Job) -> dict[str, Any]:
    """The next hint."""
    number, of, text = job.net.exercises.hint()
    return {"hint": number, "of": of, "text": text}


@operation("solution")
def solution(job: Job, repair: bool = False) -> dict[str, Any]:
    """The cause, and the commands that find and mend it; ``repair`` also ends the exercise."""
    answer = asdict(job.net.exercises.solution())
    return {**answer, **(end(job) if repair else {})}


@operation("break-reset")
def end(job: Job) -> dict[str, Any]:
    """Take the fault back; ``remaining``: how many differences verify still reports."""
    number = job.net.exercises.reset()
    return {"number": number or None, "remaining": len(job.net.verify())}

"""The cluster's resources, as kubectl and calicoctl have them: seen, applied, deleted, scaled."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Any

from calico_mn.control.changes import commands
from calico_mn.control.dispatcher import Job, operation
from calico_mn.emulation import apply as change
from calico_mn.emulation.apply import Applied
from calico_mn.errors import ClusterError
from calico_mn.topology.names import kind_of, kinds_named, name_of, named, namespace_of
from calico_mn.topology.plain_data import Document


@operation("get")
def get(job: Job, kinds: list[str] | None = None, names: list[str] | None = None,
        namespace: str | None = None) -> list[dict[str, Any]]:
    """Resources, in the order of ``kinds``, each with the ``facts`` that only the run knows.

    Without ``kinds`` all of them; ``names``, ``[NAMESPACE/]NAME`` each, must be there. Without
    ``namespace`` it is those of all namespaces.
    """
    known = job.net.resources()
    wanted = [kind for word in kinds for kind in kinds_named(word)] if kinds is not None else None
    if wanted is not None:
        known = sorted((document for document in known if kind_of(document) in wanted),
                       key=lambda document: wanted.index(kind_of(document)))
    chosen = [document for document in known
              if namespace is None or namespace_of(document) in ("", namespace)]
    if names:
        chosen = [document for name in names
                  for document in named(known, wanted or (), name, namespace)]
    facts = _Facts(job)
    return [{"document": document, "facts": facts.of(document)} for document in chosen]


class _Facts:
    """What tables show of a resource beside its own fields."""

    def __init__(self, job: Job) -> None:
        self._cluster = job.net.cluster
        self._blocks = {block.cidr: (pool.name, block.cidr.num_addresses, len(block.used))
                        for pool in self._cluster.ipam.pools
                        for block in self._cluster.ipam.blocks_of(pool)}

    def of(self, document: Document) -> dict[str, Any]:
        """Empty for a kind, or a resource, that the run has nothing to add to."""
        cluster, kind, name = self._cluster, kind_of(document), name_of(document)
        if kind == "Node" and name in cluster.nodes:
            node = cluster.nodes[name]
            return {"ipv4": str(node.address), "subnet": cluster.fabric.subnet_of(node).name,
                    "tunnels": {encapsulation.device: str(address) for encapsulation, address
                                in cluster.tunnel_addresses(name).items()},
                    "blocks": list(map(str, cluster.ipam.blocks(name))),
                    "pods": len(cluster.pods_on(name))}
        key = f"{namespace_of(document)}/{name}"
        if kind == "Pod" and key in cluster.endpoints:
            endpoint = cluster.endpoints[key]
            return {"interface": endpoint.device, "mtu": endpoint.mtu}
        if kind == "Pod" and key in cluster.admission.waiting:
            waiting = cluster.admission.waiting[key]
            return {"status": waiting.status, "reason": waiting.reason}
        if kind == "IPPool":
            return {"used": sum(used for pool, _, used in self._blocks.values() if pool == name),
                    "total": next((pool.cidr.num_addresses for pool in cluster.ipam.pools
                                   if pool.name == name), 0)}
        if kind in ("BlockAffinity", "IPAMBlock"):
            pool, total, used = self._blocks.get(
                IPv4Network(document["spec"]["cidr"]), ("", 0, 0))
            return {"pool": pool, "total": total, "used": used}
        return {}


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

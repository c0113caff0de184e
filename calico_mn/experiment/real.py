"""A run on a real cluster: what it needs before, at its begin and at its end.

    prepared   kubeconfig, nodes ──▶ a RealCluster in which nothing is made yet
    begin      pods run; which modes are measured, what the report says of the cluster
    end        the pool's mode and the namespaces are as before, or a message says what is left

What is needed to take an interrupted run up again is in run.json, under ``kubernetes``.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from calico_mn.calico.encapsulation import ENCAPSULATIONS
from calico_mn.errors import CalicoMnError, ClusterError
from calico_mn.experiment import record
from calico_mn.experiment.arguments import Options
from calico_mn.experiment.interruption import INTERRUPTED, Interruption
from calico_mn.experiment.options import MODES
from calico_mn.kubernetes import client, environment, placement, pools
from calico_mn.kubernetes.cluster import RealCluster
from calico_mn.measure.paths import PATHS
from calico_mn.measure.reading_log import RECORD
from calico_mn.model import Topology, Underlay
from calico_mn.privileges import as_invoking_user
from calico_mn.streams import complain
from calico_mn.text import one_line

if TYPE_CHECKING:
    from calico_mn.experiment.run import Run

#: what run.json has of a run on a real cluster
KEY = "kubernetes"
#: such a run's, which emulates nothing
NO_TOPOLOGY = Topology(Underlay(()), (), ())


def before(directory: Path) -> Mapping[str, Any]:
    """What an interrupted run has recorded. Raises CalicoMnError where that was changed by hand."""
    facts: Any = record.everything(directory).get(KEY)
    try:
        nodes, former = facts["nodes"], facts["former_mode"]
        words = [facts[name] for name in ("context", "namespace", "run", "encapsulation")]
        is_sound = (all(isinstance(word, str) for word in (*words, *nodes, *nodes.values()))
                    and re.fullmatch("[0-9a-f]{6}", facts["run"])
                    and (former is None or (former in MODES and isinstance(facts["pool"], str))))
    except (LookupError, TypeError, AttributeError):
        is_sound = False
    if not is_sound:
        raise CalicoMnError(f"{directory}: {RECORD} does not tell which nodes and which namespace"
                            " the run had")
    return dict(facts)


def prepared(options: Options, known: Mapping[str, Any]) -> RealCluster:
    """Ask the cluster which nodes it has, and choose; ``known`` is of an interrupted run.

    Raises what :func:`calico_mn.kubernetes.client.connect` raises, ApiError and ClusterError.
    """
    assert options.real is not None
    settings = replace(options.real, context=known["context"], namespace=known["namespace"]
                       ) if known else options.real
    server = client.connect(settings.context)
    nodes = placement.read(server.list(client.path("v1", "nodes"))["items"])
    wanted = options.levels.get("--paths") or PATHS
    chosen = (placement.placed(nodes, known["nodes"], wanted) if known
              else placement.place(nodes, wanted))
    return RealCluster(server, settings, chosen, known["run"] if known else secrets.token_hex(3),
                       before=known)


def source(cluster: RealCluster) -> str:
    """What a report calls the cluster."""
    return f"kubernetes {one_line(cluster.server.context)}"


def resources(cluster: RealCluster) -> str:
    """The nodes, the pools and the pods of the run, for an emulated cluster of the same."""
    documents: list[dict[str, Any]] = [
        {"apiVersion": "projectcalico.org/v3", "kind": "Node", "metadata": {"name": node.name},
         "spec": {"bgp": {"ipv4Address": str(node.address)}}} for node in cluster.placement.nodes]
    documents += [
        {"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": pool.name},
         "spec": {name: pool.spec[name] for name in (
             "cidr", *(item.mode_field for item in ENCAPSULATIONS), "natOutgoing", "blockSize")
             if name in pool.spec}}
        for pool in pools.read(cluster.server)]
    documents += [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {
            "name": pod, "namespace": cluster.namespace.name}, "spec": {"nodeName": node.name}}
        for pod, node in cluster.placement.pods.items()]
    return yaml.safe_dump_all(documents, sort_keys=False)


def begin(run: Run, cluster: RealCluster) -> None:
    """Make the pods; then the run's options say what is measured, and its plan what is not."""
    def remember(facts: Mapping[str, Any]) -> None:
        with as_invoking_user(run.directory):
            record.add(run.directory, {KEY: facts})

    cluster.record = remember
    cluster.open()
    levels, settings = dict(run.options.levels), cluster.settings
    name = str(cluster.encapsulation).lower()
    if "--encapsulations" in levels:
        if _is_given(run.options, "--encapsulations") and levels["--encapsulations"] != (name,):
            raise ClusterError(f"the pool {_pool(cluster)} has {cluster.encapsulation}: leave out"
                               " --encapsulations")
        levels["--encapsulations"] = (name,)
    if not settings.allow_mode_change:
        asked = levels["--modes"]
        if _is_given(run.options, "--modes") and asked != (cluster.mode,):
            raise ClusterError(f"the pool {_pool(cluster)} has the mode {cluster.mode}, and"
                               f" {asked[0]} would change it for all pods in it:"
                               " --allow-mode-change permits that")
        levels["--modes"] = (cluster.mode,)
    else:
        manager = " The operator manages it, so its Installation is what changes." if (
            cluster.pool and cluster.pool.entry is not None) else ""
        complain(f"This changes the mode of IPPool {_pool(cluster)} for all pods in it, not only"
                 f" for those of this run.{manager} Its mode {cluster.own_mode} is set again at the"
                 f" end; by hand: {cluster.restoring}")
    cannot = {"wire": "Bytes on the wire and segments were not measured: tcpdump does not see into"
              " how many segments a card cuts a packet.", **({} if cluster.has_python else {
                  "connections": f"Connections were not measured: the image"
                  f" {one_line(settings.image)} has no python3."})}
    notes = [*cluster.notes, *(text for name, text in cannot.items()
                               if name in levels["--instruments"])]
    levels["--instruments"] = tuple(name for name in levels["--instruments"] if name not in cannot)
    if not levels["--instruments"]:
        raise ClusterError(f"nothing of what was asked for can be measured. {' '.join(notes)}")
    run.options = replace(run.options, levels=levels)
    run.environment = {**environment.collect(cluster), "notes": notes}
    with as_invoking_user(run.directory):
        record.add(run.directory, {"environment": run.environment})


def _is_given(options: Options, flag: str) -> bool:
    return any(word.partition("=")[0] == flag for word in options.arguments)


def _pool(cluster: RealCluster) -> str:
    return one_line(cluster.pool.name if cluster.pool else "")


def end(cluster: RealCluster, interruption: Interruption) -> None:
    """Undo what the run has changed; what cannot be undone is said, and is a failure."""
    if interruption.status == INTERRUPTED:
        complain(f"Removing the namespace {cluster.namespace.name}"
                 f"{' and setting the mode again' if len(cluster.left()) > 1 else ''}; a second"
                 " Ctrl-C leaves that to you.")
    why = "interrupted"
    try:
        with interruption.breakable():
            cluster.close()
    except CalicoMnError as error:
        why = str(error)
    except KeyboardInterrupt:
        pass
    if left := cluster.left():
        interruption.status = interruption.status or 1
        complain("\n".join([f"Not everything is as it was before ({why}). These commands undo the"
                            " rest:", *(f"    {command}" for command in left)]))

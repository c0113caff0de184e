"""A topology as a cluster of kind (Kubernetes in Docker), with Calico and pinned pods.

In goes a topology, out come kind's configuration, the manifests of :mod:`.kubernetes`, and a script
of the commands. A node of the topology is a worker, and kind names workers by their number. Pools
are there before Calico's agents start, so that these make no pool of their own.
"""

from __future__ import annotations

import re

from calico_mn.export import IMAGE, Export, as_yaml
from calico_mn.export.kubernetes import commands, manifests, node_labels
from calico_mn.model import Topology

CLUSTER = "calico-mn"
#: of kinds that need the topology's own network
_LEFT_OUT = ("BGPConfiguration", "BGPFilter", "BGPPeer", "HostEndpoint")
_POOLS = "01-calico.yaml"
#: what a file may have for a release before it is a word of the script
_RELEASE = re.compile(r"v[0-9]+\.[0-9]+\.[0-9]+")

_SCRIPT = """\
#!/bin/sh
# Needs kind, kubectl, and calicoctl of Calico's release. The cluster ends with
# "kind delete cluster --name {cluster}". Commands of your own: export KUBECONFIG=$PWD/kubeconfig
#
{nodes}
set -eu
cd "$(dirname "$0")"
export KUBECONFIG="$PWD/kubeconfig" DATASTORE_TYPE=kubernetes
calico=https://raw.githubusercontent.com/projectcalico/calico/${{CALICO-{release}}}/manifests

kind create cluster --config kind.yaml --kubeconfig kubeconfig
kubectl apply --server-side -f "$calico/crds.yaml"
kubectl wait --for condition=Established crd --all --timeout 1m
{pools}
kubectl apply --server-side -f "$calico/calico.yaml"
# Felix stops at rp_filter 2, which nodes have from the machine, as on Ubuntu.
kubectl set env --namespace kube-system daemonset/calico-node FELIX_IGNORELOOSERPF=true
kubectl rollout status --namespace kube-system daemonset/calico-node --timeout 10m
{others}
kubectl wait --for condition=Ready pod --all --all-namespaces --timeout 10m
"""


def kind(topology: Topology, image: str = IMAGE) -> Export:
    """kind.yaml, manifests and create.sh; ``image`` is that of all pods."""
    names = {node.name: f"{CLUSTER}-worker{number if number > 1 else ''}"
             for number, node in enumerate(topology.nodes, 1)}
    files, notes = manifests(topology, image, names, _LEFT_OUT)
    workers = [{"role": "worker", **({"labels": labels} if labels else {})}
               for _, labels in node_labels(topology)]
    config = {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "name": CLUSTER,
              "networking": {"disableDefaultCNI": True, "podSubnet": str(topology.pools[0].cidr)},
              "nodes": [{"role": "control-plane"}, *workers]}
    others = [file for file in files if file != _POOLS]
    release = topology.information.calico_version
    script = _SCRIPT.format(
        cluster=CLUSTER, nodes="\n".join(f"# {name} is {worker}" for name, worker in names.items()),
        release=release if _RELEASE.fullmatch(release) else f"{topology.profile.name}.0",
        pools="\n".join(commands([_POOLS])), others="\n".join(commands(others)))
    return Export(
        {"kind.yaml": as_yaml([config]), **files, "create.sh": script},
        (*notes, "subnets: all nodes are in one, where CrossSubnet sends packets as Never does",
         "BGP of its own: nodes peer in a full mesh"),
        "sh create.sh")

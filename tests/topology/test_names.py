"""What people call kinds, and what kubectl calls resources."""

from __future__ import annotations

import pytest

from calico_mn.errors import ClusterError
from calico_mn.topology.kinds import ALL, kind_of, kinds_named, namespace_of, reference, words


@pytest.mark.parametrize(("word", "kind"), [
    ("po", "Pod"), ("pod", "Pod"), ("pods", "Pod"), ("Pod", "Pod"), ("no", "Node"),
    ("ns", "Namespace"), ("namespaces", "Namespace"), ("deploy", "Deployment"),
    ("deployments.apps", "Deployment"), ("sts", "StatefulSet"), ("ds", "DaemonSet"),
    ("rs", "ReplicaSet"), ("rc", "ReplicationController"), ("ippool", "IPPool"),
    ("ippools.projectcalico.org", "IPPool"), ("ippools.crd.projectcalico.org", "IPPool"),
    ("ipp", "IPPool"), ("blockaffinities", "BlockAffinity"), ("ipamblocks", "IPAMBlock"),
    ("felixconfig", "FelixConfiguration"), ("bgpconfig", "BGPConfiguration"),
    ("ipamconfig", "IPAMConfiguration"), ("wep", "WorkloadEndpoint"), ("underlay", "Underlay"),
    ("netpol", "NetworkPolicy"), ("gnp", "GlobalNetworkPolicy"), ("svc", "Service"),
    ("ingressclasses", "IngressClass"), ("endpoints", "Endpoints"), ("cm", "ConfigMap"),
    ("hep", "HostEndpoint"), ("hostendpoints", "HostEndpoint"), ("tiers", "Tier"),
    ("profiles", "Profile"), ("stagednetworkpolicies", "StagedNetworkPolicy"),
    ("stagedglobalnetworkpolicies.crd.projectcalico.org", "StagedGlobalNetworkPolicy"),
    ("ipreservations", "IPReservation"), ("installation", "Installation")])
def test_kinds_have_kubectls_and_calicoctls_names(word: str, kind: str) -> None:
    assert kinds_named(word) == (kind,)


def test_all_is_pods_and_workloads() -> None:
    assert kinds_named("all") == ALL
    assert set(ALL) == {"Pod", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet",
                        "ReplicationController"}


@pytest.mark.parametrize(("word", "hint"), [
    ("pdos", "did you mean pods?"), ("ippol", "did you mean ippool?"),
    ("pods.apps", "did you mean"), ("xyzzy", "kinds are named as in kubectl"),
    ("", "kinds are named as in kubectl")])
def test_another_word_is_an_error_with_a_hint(word: str, hint: str) -> None:
    with pytest.raises(ClusterError, match=hint):
        kinds_named(word)


def test_completion_offers_the_kinds_that_have_an_effect() -> None:
    assert {"all", "po", "pods", "ippools", "underlay"} <= set(words())
    assert "ingresses" not in words()


@pytest.mark.parametrize(("api", "kind", "metadata", "expected"), [
    ("v1", "Pod", {"name": "a"}, ("Pod", "default", "pod/a")),
    ("apps/v1", "Deployment", {"name": "a", "namespace": "n"}, ("Deployment", "n",
                                                                "deployment.apps/a")),
    ("projectcalico.org/v3", "IPPool", {"name": "p"}, ("IPPool", "",
                                                       "ippool.projectcalico.org/p")),
    ("crd.projectcalico.org/v1", "IPAMConfig", {"name": "default"}, (
        "IPAMConfiguration", "", "ipamconfiguration.crd.projectcalico.org/default")),
    ("calico-mn/v1", "Underlay", None, ("Underlay", "", "underlay.calico-mn/")),
    ("example.org/v1", "Thing", {"name": "t", "namespace": "n"}, ("Thing", "n",
                                                                   "thing.example.org/t")),
])
def test_a_resource_has_a_kind_a_namespace_and_kubectls_name(
        api: str, kind: str, metadata: object, expected: tuple[str, str, str]) -> None:
    document = {"apiVersion": api, "kind": kind, "metadata": metadata}
    assert (kind_of(document), namespace_of(document), reference(document)) == expected

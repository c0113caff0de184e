import pytest

from calico_mn.measure.paths import Endpoint, Pair, ordered_pairs, representative_pairs


def pods(*texts):
    """NAME@NODE/SUBNET"""
    found = []
    for number, text in enumerate(texts):
        name, _, place = text.partition("@")
        node, _, subnet = place.partition("/")
        found.append(Endpoint(name, f"10.0.0.{number}", node, subnet))
    return found


@pytest.mark.parametrize(("destination", "path"), [
    ("b@n1/r1", "same-node"), ("b@n2/r1", "same-subnet"), ("b@n3/r2", "cross-subnet")])
def test_path_class(destination, path):
    assert Pair(*pods("a@n1/r1", destination)).path == path


@pytest.mark.parametrize(("cluster", "chosen"), [
    pytest.param(("a@n1/r1", "b@n2/r1", "c@n3/r2", "d@n1/r1"),
                 {"same-node": "ad", "same-subnet": "ab", "cross-subnet": "ac"},
                 id="one source for all"),
    pytest.param(("a@n3/r2", "b@n2/r1", "c@n1/r1", "d@n1/r1"),
                 {"same-node": "cd", "same-subnet": "cb", "cross-subnet": "ca"},
                 id="the source that has all, not the first"),
    pytest.param(("a@n1/r1", "b@n1/r1", "c@n2/r2", "d@n3/r2"),
                 {"same-node": "ab", "same-subnet": "cd", "cross-subnet": "ac"},
                 id="no pod has all"),
    pytest.param(("a@n1/r1", "b@n2/r1"), {"same-subnet": "ab"}, id="missing classes"),
])
def test_a_pair_stands_for_each_class(cluster, chosen):
    pairs = representative_pairs(pods(*cluster))
    assert {path: p.source.name + p.destination.name for path, p in pairs.items()} == chosen
    assert all(pair.path == path for path, pair in pairs.items())


def test_every_pod_to_every_other():
    names = [p.source.name + p.destination.name
             for p in ordered_pairs(pods("a@n1/r1", "b@n1/r1", "c@n1/r1"))]
    assert names == ["ab", "ac", "ba", "bc", "ca", "cb"]

import pytest

from calico_mn.errors import ClusterError
from calico_mn.measure.paths import (
    Endpoint,
    Pair,
    named_pairs,
    ordered_pairs,
    representative_pairs,
)


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


CLUSTER = ("default/a@n1/r1", "default/b@n2/r1", "default/c@n3/r2", "other/c@n1/r1")


@pytest.mark.parametrize(("names", "pairs"), [
    pytest.param([("a", "b")], {"same-subnet": ("default/a", "default/b")}, id="short names"),
    pytest.param([("default/a", "other/c")], {"same-node": ("default/a", "other/c")}, id="whole"),
    pytest.param([("a", "default/c"), ("b", "default/c"), ("a", "b")], {
        "same-subnet": ("default/a", "default/b"),
        "default/a to default/c": ("default/a", "default/c"),
        "default/b to default/c": ("default/b", "default/c")}, id="two of a class"),
])
def test_pairs_by_name(names, pairs):
    found = named_pairs(pods(*CLUSTER), names)
    assert {key: (pair.source.name, pair.destination.name) for key, pair in found.items()} == pairs


@pytest.mark.parametrize(("pair", "says"), [
    (("a", "c"), "default/c and other/c are both called c"), (("a", "a"), "paired with itself"),
    (("a", "default/d"), "there is no pod 'default/d'; did you mean default/")])
def test_a_pair_that_cannot_be_is_an_error(pair, says):
    with pytest.raises(ClusterError, match=says):
        named_pairs(pods(*CLUSTER), [pair])

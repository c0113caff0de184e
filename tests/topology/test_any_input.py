"""Whatever the file is, the answer is a Topology or a TopologyError, soon."""

from __future__ import annotations

import dataclasses
import os
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hostile import BARE

from calico_mn.calico.cluster import Cluster
from calico_mn.errors import TopologyError
from calico_mn.model import Topology
from calico_mn.topology import load_topology, parse_topology
from calico_mn.topology.kinds import IGNORED_KINDS, KINDS
from calico_mn.topology.problems import MAX_PROBLEMS
from calico_mn.topology.schema import Field, Kind, List, Schema
from calico_mn.topology.yaml_tree import MAX_BYTES


def outcome(text: str) -> Topology | TopologyError:
    """A topology that a cluster can be made of, or all that is wrong with it; nothing else."""
    try:
        topology = parse_topology(text)
        Cluster(topology, rp_filter=2)
        return topology
    except TopologyError as error:
        assert error.problems
        assert len(error.problems) <= MAX_PROBLEMS + 1
        assert str(error).replace("\n", "").isprintable()
        return error


def field_names(table: Any) -> set[str]:
    names: set[str] = set()
    for name, entry in table.items():
        inner = entry.table if isinstance(entry, List) else entry
        names |= {name} | (field_names(inner) if hasattr(inner, "items") else set())
    return names


NAMES = sorted(set().union(*(field_names(kind.table) for kind in KINDS.values())))
WORDS = st.sampled_from([
    "10.22.0.0/16", "10.22.0.0/26", "192.168.57.31/24", "fd00::/64", "Always", "Never", "node31",
    "a", "true", "-1", "26", "0", "99999999999999999999", "no", "100Mbit", "1ms", '["10.22.0.1"]',
    "calico-node", "calico-config", "CALICO_IPV4POOL_CIDR", "0.0.0.0/0", "255.255.255.255/32",
])
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), WORDS, st.text())
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(NAMES) | st.text(), inner, max_size=6),
    max_leaves=20,
)


def shaped(table: Any) -> st.SearchStrategy[Any]:
    """Mappings that mostly fit ``table``, with wrong values in between."""
    optional: dict[Any, st.SearchStrategy[Any]] = {}
    for name, entry in table.items():
        if isinstance(entry, List):
            optional[name] = st.lists(shaped(entry.table), max_size=3) | SCALARS
        elif hasattr(entry, "items"):
            optional[name] = shaped(entry) | SCALARS
        elif isinstance(entry, Field):
            optional[name] = WORDS | SCALARS
    return st.fixed_dictionaries({}, optional=optional)


RESOURCES = st.one_of([
    shaped(kind.table).map(lambda body, k=kind: {**body, "apiVersion": k.api, "kind": k.name})
    for kind in KINDS.values()
])


@settings(deadline=None)
@given(st.text() | st.text(alphabet=string.punctuation + " \n\tab01"))
def test_any_text_is_read_or_refused(text: str) -> None:
    assert isinstance(outcome(text), (Topology, TopologyError))


@settings(deadline=None)
@given(st.binary() | st.binary().map(b"kind: ".__add__))
def test_any_bytes_are_read_or_refused(tmp_path_factory: Any, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any-bytes"
    path.write_bytes(data)
    with pytest.raises(TopologyError):
        load_topology(path, environ={})


@settings(deadline=None)
@given(st.lists(VALUES, max_size=3))
def test_any_yaml_is_read_or_refused(documents: list[Any]) -> None:
    text = yaml.safe_dump_all(documents, allow_unicode=True)
    assert isinstance(outcome(text), (Topology, TopologyError))


@settings(max_examples=150, deadline=None)
@given(st.lists(RESOURCES, min_size=1, max_size=6))
def test_any_resources_are_read_or_refused(documents: list[Any]) -> None:
    text = yaml.safe_dump_all(documents, allow_unicode=True)
    assert isinstance(outcome(text), (Topology, TopologyError))


def test_overlaps_of_many_networks_are_found_without_comparing_all_pairs() -> None:
    pools = "".join(
        f"{{apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {{name: p{i}}}, spec: "
        f"{{cidr: 10.{i >> 8}.{i & 255}.0/24}}}}\n---\n" for i in range(4000)
    )
    error = outcome(pools + "{apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: all}"
                    ", spec: {cidr: 10.0.0.0/8}}\n---\n" + BARE % 1)
    assert isinstance(error, TopologyError)
    assert "IPPool 10.0.0.0/8 overlaps IPPool 10.0.0.0/24" in str(error)


@pytest.mark.parametrize(("make", "words"), [
    (lambda p: None, "cannot be read: No such file"),
    (lambda p: p.mkdir(), "this is a directory"),
    (lambda p: os.mkfifo(p), "this is a FIFO"),
    (lambda p: p.write_bytes(b""), "there is nothing in it"),
    (lambda p: p.write_bytes(b"a: \xff\n"), "line 1 is not UTF-8 text (byte 0xff)"),
    (lambda p: p.write_bytes("kind: a".encode("utf-16")), "line 1 is not UTF-8 text"),
    (lambda p: p.write_bytes(b"#" * (MAX_BYTES + 1)), "is larger than 10 MB"),
    (lambda p: p.symlink_to(p), "cannot be read: Too many levels of symbolic links"),
    (lambda p: p.symlink_to("/dev/zero"), "this is a device or socket"),
    (lambda p: p.symlink_to("/proc/self/mem"), "cannot be read: Input/output error"),
], ids=["missing", "directory", "fifo", "empty", "latin1", "utf16", "large", "loop", "device",
        "unreadable"])
def test_what_is_no_topology_file_is_one_clear_problem(
    make: Any, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "topology.yaml"
    make(path)
    with pytest.raises(TopologyError) as caught:
        load_topology(path)
    assert len(caught.value.problems) == 1
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)


def test_a_path_with_a_nul_is_a_problem() -> None:
    with pytest.raises(TopologyError, match="cannot be read"):
        load_topology("a\0b")


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + (BARE % 1).replace(
        "spec: {}", "spec: {bgp: {ipv4Address: 172.16.0.1/24}}").encode())
    assert load_topology(path, environ={}).nodes[0].name == "n1"


def test_problems_come_in_file_order() -> None:
    error = outcome("{apiVersion: v1, kind: X}\n---\n" + BARE % 1 + "{kind: Y}\n")
    assert isinstance(error, TopologyError)
    lines = [problem.line for problem in error.problems if problem.line]
    assert lines == sorted(lines) and len(lines) >= 3


def test_each_kind_is_either_modelled_or_known() -> None:
    assert not [key for key in KINDS if key[1] in IGNORED_KINDS.get(key[0], ())]


def schemas(schema: Schema[Any], table: Any) -> Iterator[Schema[Any]]:
    """A schema, and those of the lists below it."""
    if table is schema.table:
        yield schema
    for entry in table.values():
        if isinstance(entry, List):
            yield from schemas(entry, entry.table)
        elif hasattr(entry, "items"):
            yield from schemas(schema, entry)


def attributes(table: Any) -> Iterator[str]:
    for entry in table.values():
        if isinstance(entry, (Field, List)):
            yield entry.name
        elif hasattr(entry, "items"):
            yield from attributes(entry)


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_each_attribute_of_a_model_class_is_that_of_a_field(kind: Kind[Any]) -> None:
    made_of_others = {"multipath_hash", "link", "has_ip", "pending", "owner", "ports", "kind",
                      "addresses", "peer_port", "storage_name", "source", "destination", "icmp",
                      "not_icmp", "options", "lengths"}
    # The model of a namespaced kind is also that of its global counterpart.
    made_of_others |= {"namespace", "namespace_selector", "service_account_selector",
                       "is_untracked", "is_pre_dnat", "applies_on_forward", "order", "selector"
                       } if kind.name.endswith(("NetworkPolicy", "NetworkSet", "Namespace")) else (
        set())
    for schema in schemas(kind, kind.table):
        names = {field.name for field in dataclasses.fields(schema.model)} - made_of_others
        assert names <= set(attributes(schema.table))
    assert not kind.topology or kind.topology in {
        field.name for field in dataclasses.fields(Topology)}

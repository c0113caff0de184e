import pytest
from support.topologies import one_subnet, two_subnets

from calico_mn import CalicoNet
from calico_mn.errors import UnsupportedError
from calico_mn.kernel import neighbour_table


@pytest.fixture
def table(tmp_path):
    """A file in the place of the machine's own limit, which is not ours to change."""
    path = tmp_path / "gc_thresh3"
    path.write_text("5\n")
    return path


@pytest.mark.parametrize(("topology", "count"), [
    # Two pods; two nodes and a router on one wire.
    pytest.param(one_subnet("Always"), 2 * 2 + 3 * 2, id="one subnet"),
    # Three pods; two nodes and the router, one node and the router.
    pytest.param(two_subnets("Always"), 2 * 3 + 3 * 2 + 2 * 1, id="two subnets"),
])
def test_expected_entries(topology, count):
    assert neighbour_table.expected(topology) == count


def test_the_warning_names_the_command(table):
    said = neighbour_table.warning(one_subnet("Always"), table)
    assert "sysctl -w net.ipv4.neigh.default.gc_thresh3=20" in said and "allows 5" in said
    assert table.read_text() == "5\n"


@pytest.mark.parametrize("content", ["10\n", "nonsense", None])
def test_no_warning_where_it_suffices_or_cannot_be_told(table, content):
    table.unlink() if content is None else table.write_text(content)
    assert neighbour_table.warning(one_subnet("Always"), table) is None


def test_a_cluster_tells_its_warning_unless_it_may_raise_the_limit(table, monkeypatch):
    limit = neighbour_table.limit
    monkeypatch.setattr(neighbour_table, "limit", lambda _path: limit(table))
    (said,) = CalicoNet(one_subnet("Always")).warnings
    assert "needs 10 neighbour entries" in said
    assert CalicoNet(one_subnet("Always"), raise_neighbour_limit=True).warnings == ()


def test_it_is_raised_and_given_back(table):
    raised = neighbour_table.Raised(one_subnet("Always"), table)
    assert table.read_text() == "20\n"
    raised.restore()
    assert table.read_text() == "5\n"


def test_what_somebody_else_has_set_meanwhile_is_kept(table):
    raised = neighbour_table.Raised(one_subnet("Always"), table)
    table.write_text("4096\n")
    raised.restore()
    assert table.read_text() == "4096\n"


def test_what_suffices_is_not_written(table):
    table.write_text("4096\n")
    neighbour_table.Raised(one_subnet("Always"), table).restore()
    assert table.read_text() == "4096\n"


def test_what_cannot_be_written_is_said(table, monkeypatch):
    def refuse(*_args, **_options):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(type(table), "write_text", refuse)
    with pytest.raises(UnsupportedError, match="gc_thresh3 cannot be raised: Operation not"):
        neighbour_table.Raised(one_subnet("Always"), table)

"""The neighbour-table limit: what is told, and how it is raised and given back.

A file stands in the place of the machine's own limit, which is not ours to change; the real one is
raised in User-Mode Linux, by tests/acceptance/test_neighbour_limit.py.
"""

import json
import os

import pytest
from support.topologies import one_subnet, two_subnets

from calico_mn import CalicoNet
from calico_mn.calico.underlay import neighbour_entries
from calico_mn.errors import UnsupportedError
from calico_mn.kernel import cleanup, neighbour_quota, registry, runtime_dir
from calico_mn.kernel.neighbour_quota import release, reserve

NEEDED = neighbour_entries(one_subnet("Always"))


@pytest.mark.parametrize(("topology", "count"), [
    # Two pods; two nodes and a router on one wire.
    pytest.param(one_subnet("Always"), 2 * 2 + 3 * 2, id="one subnet"),
    # Three pods; two nodes and the router, one node and the router.
    pytest.param(two_subnets("Always"), 2 * 3 + 3 * 2 + 2 * 1, id="two subnets"),
])
def test_expected_entries(topology, count):
    assert neighbour_entries(topology) == count


# --- the decision: in which order runs come, go and are killed, and what the limit is then

STORIES = [
    # +a8: run a joins and needs 8; -a: it stops; !a: it is killed; *a8: joins, is killed before the
    # limit is written; ~a: stops, is killed before it is written; clean: a clean-up runs;
    # =7: the machine's owner sets 7. After the colon what the limit is then; it begins at 5.
    pytest.param("+a8:8 -a:5", id="one run"),
    pytest.param("+a3:5 -a:5", id="it suffices"),
    pytest.param("+a8:8 +b9:17 -a:9 -b:5", id="first in, first out"),
    pytest.param("+a8:8 +b9:17 -b:8 -a:5", id="first in, last out"),
    pytest.param("+a8:8 +b1:9 -a:5 -b:5", id="the other one needs little"),
    pytest.param("+a3:5 +b4:7 -a:5 -b:5", id="together it does not suffice"),
    pytest.param("+a8:8 !a:8 clean:5", id="killed, cleaned up"),
    pytest.param("+a8:8 !a:8 +b9:9 -b:5", id="killed, another one comes"),
    pytest.param("+a8:8 !a:8 +b2:8 -b:5", id="killed, a small one comes"),
    pytest.param("+a8:8 +b9:17 !a:17 -b:5", id="one killed, the other ends"),
    pytest.param("+a8:8 +b9:17 !a:17 clean:9 -b:5", id="one killed, cleaned up, the other ends"),
    pytest.param("+a8:8 +b9:17 !a:17 !b:17 clean:5", id="both killed"),
    pytest.param("*a8:5 clean:5", id="killed while it raised"),
    pytest.param("*a8:5 +b9:9 -b:5", id="killed while it raised, another one comes"),
    pytest.param("+a8:8 *b9:8 -a:5", id="killed while it raised, another one ends"),
    pytest.param("+a8:8 ~a:8 clean:5", id="killed while it gave back"),
    pytest.param("+a8:8 +b9:17 ~a:17 -b:5", id="killed while it gave back, the other ends"),
    pytest.param("+a8:8 +b9:17 ~a:17 clean:9 -b:5", id="killed while giving back, cleaned up"),
    pytest.param("+a8:8 =7:7 -a:7", id="the owner sets another"),
    pytest.param("+a8:8 =20:20 -a:20", id="the owner sets a higher one"),
    pytest.param("+a8:8 +b9:17 =7:7 -a:7 -b:7", id="the owner sets another for two"),
    pytest.param("+a8:8 =7:7 !a:7 clean:7", id="the owner sets another, then a kill"),
    pytest.param("+a8:8 =7:7 +b9:17 -a:9 -b:7", id="the owner sets another, then one comes"),
    pytest.param("+a8:8 =20:20 +b2:20 -a:20 -b:20", id="the owner's is above all needs"),
    pytest.param("+a8:8 +b9:17 =7:7 -b:7 +c1:9 -c:8 -a:7", id="ending never raises"),
]


@pytest.mark.parametrize("story", STORIES)
def test_the_limit_follows_from_who_needs_it(story):
    limit, ledger, living = 5, None, set()
    for step in story.split():
        (what, *rest), wanted = step.split(":")[0], int(step.split(":")[1])
        rest = "".join(rest)
        if what in "+*":
            run, need = rest[0], int(rest[1:])
            ledger = reserve(ledger, limit, run, need, living)
            if what == "+":
                living.add(run)
                limit, ledger = ledger.target, ledger.written()
        elif what == "=":
            limit = int(rest)
        else:
            living.discard(rest)
            if what != "!":
                ledger = release(ledger, limit, living)
            if what not in "!~":
                limit, ledger = ledger.target, ledger.written()
        assert limit == wanted, f"after {step}: {ledger}"
    assert ledger.is_settled


# --- on disk

@pytest.fixture
def table(tmp_path, monkeypatch):
    """A file in the place of the limit, and another place for runs."""
    path = tmp_path / "gc_thresh3"
    path.write_text("5\n")
    monkeypatch.setattr(neighbour_quota, "PATH", path)
    monkeypatch.setattr(runtime_dir, "MACHINE", tmp_path / "runs")
    return path


@pytest.fixture
def ledger(tmp_path):
    return tmp_path / "runs" / neighbour_quota.LEDGER


def run(**record):
    """A run's directory, of this process unless ``record`` says another."""
    made = registry.RunDirectory({"topology": "", **record})
    return made


def dead():
    """A run whose process has another start, and whose lock has ended with it."""
    found = run(process_started=1)
    os.close(found._lock)
    found._lock = -1
    return found


def test_the_warning_names_the_command_and_the_option(table):
    said = neighbour_quota.warning(NEEDED)
    assert "sudo sysctl -w net.ipv4.neigh.default.gc_thresh3=20" in said and "allows 5" in said
    assert "--raise-neighbour-limit" in said
    assert table.read_text() == "5\n"


@pytest.mark.parametrize("content", ["10\n", "nonsense", None])
def test_no_warning_where_it_suffices_or_is_unknown(table, content):
    table.unlink() if content is None else table.write_text(content)
    assert neighbour_quota.warning(NEEDED) is None


def test_a_cluster_tells_its_warning_unless_it_may_raise_the_limit(table):
    (said,) = CalicoNet(one_subnet("Always")).warnings
    assert "needs 10 neighbour entries" in said
    assert CalicoNet(one_subnet("Always"), raise_neighbour_limit=True).warnings == ()


def test_it_is_raised_and_given_back_and_nothing_is_left(table, ledger):
    one = run()
    neighbour_quota.raise_limit(NEEDED, one.identity)
    assert table.read_text() == "20\n"
    assert ledger.stat().st_mode & 0o777 == 0o600
    assert neighbour_quota.restore_limit(one.identity) == (20, 5)
    assert table.read_text() == "5\n" and not ledger.exists()
    one.remove()
    assert not runtime_dir.MACHINE.exists()


def test_what_it_was_is_on_disk_before_it_is_written(table, ledger, monkeypatch):
    one, seen = run(), []

    def write(path, text, **options):
        seen.append((json.loads(ledger.read_text()), text))

    monkeypatch.setattr(type(table), "write_text", write)
    neighbour_quota.raise_limit(NEEDED, one.identity)
    assert seen == [({"own": 5, "needs": {one.identity: 20}, "ours": [5, 20]}, "20\n")]


@pytest.mark.kills  # the clean-up ends programs of any dead run
def test_after_a_kill_the_next_start_or_clean_up_restores_it(table, ledger):
    for clean in (cleanup.remove_all, cleanup.remove_before_start):
        killed = dead()
        neighbour_quota.raise_limit(NEEDED, killed.identity)
        assert table.read_text() == "20\n"
        (removed,) = clean()
        assert (removed.identity, removed.neighbour_limit) == (killed.identity, (20, 5))
        assert table.read_text() == "5\n" and not ledger.exists()


def test_the_other_run_keeps_what_it_needs(table, ledger):
    one, other = run(), run()
    for each in (one, other):
        neighbour_quota.raise_limit(NEEDED, each.identity)
    assert table.read_text() == "40\n"
    neighbour_quota.restore_limit(one.identity)
    assert table.read_text() == "20\n" and ledger.exists()
    assert cleanup.remove_before_start() == ()
    neighbour_quota.restore_limit(other.identity)
    assert table.read_text() == "5\n" and not ledger.exists()


def test_without_a_ledger_nothing_is_done(table):
    assert neighbour_quota.restore_limit("1-1") is None
    assert not runtime_dir.MACHINE.exists()


@pytest.mark.parametrize("text", ["", "[]", '{"own": 1}', '{"own": 1, "needs": [], "ours": []}',
                                  '{"own": 1, "needs": {}, "ours": []}', "\0"])
def test_a_ledger_that_makes_no_sense_changes_nothing(table, ledger, text):
    one = run()
    ledger.write_text(text)
    assert neighbour_quota.restore_limit(one.identity) is None
    assert table.read_text() == "5\n"
    neighbour_quota.raise_limit(NEEDED, one.identity)
    assert neighbour_quota.restore_limit(one.identity) == (20, 5)


def test_what_cannot_be_written_is_said_and_not_remembered(table, ledger, monkeypatch):
    def refuse(*_args, **_options):
        raise PermissionError(1, "Operation not permitted")

    one = run()
    monkeypatch.setattr(type(table), "write_text", refuse)
    with pytest.raises(UnsupportedError, match="from 5 to 20: Operation not permitted; leave out"):
        neighbour_quota.raise_limit(NEEDED, one.identity)
    assert not ledger.exists()


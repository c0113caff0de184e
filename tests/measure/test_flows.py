"""Streams of numbered packets: counting, and on a running cluster.

     a @ node31      b @ node32
        |             |
   -----+-- rack-a ---+-----
"""

import subprocess
import time

import pytest
from support import machine
from support.patience import eventually
from support.topologies import one_subnet

from calico_mn import CalicoNet, Drop
from calico_mn.errors import ToolError
from calico_mn.measure import flows, paths
from calico_mn.measure.flows import Flow, Tally, tally

MS = 1_000_000


def flow(count, *arrived):
    """``count`` packets, one each ms from 0 on."""
    return Flow(tuple(number * MS for number in range(count)), arrived)


@pytest.mark.parametrize(("seen", "window", "found"), [
    pytest.param(flow(4, 0, 1, 2, 3), (0, 4), Tally(4, 0, 0, (), 0.0), id="all arrive"),
    pytest.param(flow(4, 0, 3), (0, 4), Tally(4, 0, 0, (1.0, 2.0), 2.0),
                 id="a run of losses lasts until the next that arrives was sent"),
    pytest.param(flow(6, 0, 2, 5), (0, 6), Tally(6, 0, 0, (1.0, 3.0, 4.0), 2.0),
                 id="the longest of two runs"),
    pytest.param(flow(4, 0, 1), (0, 6), Tally(4, 0, 0, (2.0, 3.0), 4.0),
                 id="a run that does not end lasts as long as the window"),
    pytest.param(flow(4), (0, 4), Tally(4, 0, 0, (0.0, 1.0, 2.0, 3.0), 4.0), id="none arrives"),
    pytest.param(flow(4, 0, 2, 1, 3), (0, 4), Tally(4, 1, 0, (), 0.0), id="one comes late"),
    pytest.param(flow(3, 0, 1, 1, 2, 2), (0, 3), Tally(3, 0, 2, (), 0.0), id="two come twice"),
    pytest.param(flow(6, 1, 3, 4, 2, 2), (3, 5), Tally(2, 0, 0, (), 0.0),
                 id="what happened outside the window does not count"),
    pytest.param(flow(6, 0, 1, 2, 3), (3, 6), Tally(3, 0, 0, (1.0, 2.0), 2.0),
                 id="times count from the beginning of the window"),
    pytest.param(flow(2, 0, 1), (5, 9), Tally(0, 0, 0, (), 0.0), id="an empty window"),
])
def test_tally(seen, window, found):
    assert tally(seen, window[0] * MS, window[1] * MS) == found
    assert found.lost == len(found.lost_at)


@pytest.fixture(scope="module")
def net():
    with CalicoNet(one_subnet("Always")) as running:
        yield running


def watched(net, rate=200):
    """The flows of 0.1 s between a and b, with the window that counts."""
    (pair,) = paths.representative_pairs(paths.endpoints(net)).values()
    with flows.streams(net, [pair], rate=rate, longest=20) as running:
        time.sleep(0.1)
        until = time.monotonic_ns()
        by_direction = running.finish()
    return {(one.source.name, one.destination.name): tally(found, running.began, until)
            for one, found in by_direction.items()}


@pytest.mark.root
def test_on_a_healthy_path_every_packet_arrives_once(net):
    found = watched(net)
    assert set(found) == {("default/a", "default/b"), ("default/b", "default/a")}
    for one in found.values():
        assert one == Tally(one.sent, 0, 0, (), 0.0)
        assert one.sent > 0


@pytest.mark.root
def test_each_direction_is_known_by_itself(net):
    asked = subprocess.run(["unshare", "-n", "nft", "add", "table", "ip", "t"],
                           capture_output=True, text=True, timeout=60, check=False)
    if asked.returncode:
        pytest.skip(f"nft cannot filter in family ip here: {asked.stderr.strip()[:120]}")
    with net.dropping("b", Drop(17), hooks="input"):
        found = watched(net)
    there, back = found["default/a", "default/b"], found["default/b", "default/a"]
    assert there.sent == there.lost > 0
    assert back.sent > back.lost == 0


@pytest.mark.root
def test_streams_end_with_the_block_even_after_an_error(net):
    (pair,) = paths.representative_pairs(paths.endpoints(net)).values()
    with pytest.raises(ZeroDivisionError), flows.streams(net, [pair], rate=100, longest=20):
        assert machine.processes_of_runs()
        raise ZeroDivisionError
    assert eventually(lambda: not machine.processes_of_runs())


@pytest.mark.root
def test_an_end_that_cannot_start_is_named(net):
    (pair,) = paths.representative_pairs(paths.endpoints(net)).values()
    with (flows.streams(net, [pair], rate=100, longest=20),
          pytest.raises(ToolError, match=r"^default/a: endpoint.py ended: (.|\n)*in use"),
          flows.streams(net, [pair], rate=100, longest=20)):
        pass

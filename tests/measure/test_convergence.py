"""When routes are right again: by the kernel's notifications, and against what is wanted.

     node31 .31    node32 .32               node33 .33
        |             |                        |
   -----+-- rack-a ---+---- (.1) r1 (.1) ------+-- rack-b ----
"""

import pytest
from support.topologies import two_subnets

from calico_mn import CalicoNet
from calico_mn.errors import ClusterError, ToolError
from calico_mn.kernel.notifications import RouteChange
from calico_mn.measure import incidents
from calico_mn.measure.convergence import (
    CONVERGENCE,
    NODE_TIMES,
    NODES_CHANGED,
    Progress,
    RouteWatch,
)
from calico_mn.state import NextHop, Route

BLOCK, OTHER = "10.22.1.0/26", "10.22.2.0/26"


def route(destination, via, device="tunl0", protocol="bird", metric=0):
    return Route(destination, via, device, protocol, metric=metric)


def came(when, *args, replaces=False, **fields):
    return RouteChange(when, route(*args, **fields), replaces=replaces)


def left(when, *args):
    return RouteChange(when, route(*args), is_removed=True)


def two_hops(*vias):
    return Route(BLOCK, protocol="bird", next_hops=tuple(NextHop(via, "tunl0") for via in vias))


@pytest.mark.parametrize(("present", "changes", "wanted", "right_since"), [
    pytest.param([], [], [], 0, id="nothing is wanted"),
    pytest.param([route(BLOCK, "a")], [], [route(BLOCK, "a")], 0, id="right from the start"),
    pytest.param([], [], [route(BLOCK, "a")], None, id="never came"),
    pytest.param([], [came(5, BLOCK, "a")], [route(BLOCK, "a")], 5, id="came"),
    pytest.param([route(BLOCK, "a")], [left(7, BLOCK, "a")], [], 7, id="went"),
    pytest.param([route(BLOCK, "a")], [came(3, BLOCK, "a", "eth0", replaces=True)],
                 [route(BLOCK, "a", "eth0")], 3, id="replaced by another device"),
    pytest.param([route(BLOCK, "a")], [came(3, BLOCK, "a", "eth0")],
                 [route(BLOCK, "a", "eth0")], None, id="a second way beside the old one"),
    pytest.param([], [came(5, BLOCK, "a"), came(9, OTHER, "b")],
                 [route(OTHER, "b"), route(BLOCK, "a")], 9, id="the last of two counts"),
    pytest.param([], [came(5, BLOCK, "a"), left(6, BLOCK, "a"), came(8, BLOCK, "a")],
                 [route(BLOCK, "a")], 8, id="gone again for a moment"),
    pytest.param([route(BLOCK, "a")], [left(6, BLOCK, "a"), came(8, BLOCK, "a")],
                 [route(BLOCK, "a")], 8, id="right before, wrong for a moment"),
    pytest.param([], [came(5, BLOCK, "a"), came(6, OTHER, "b")], [route(BLOCK, "a")], None,
                 id="one too many"),
    pytest.param([], [came(5, BLOCK, "a"), came(6, BLOCK, "a")], [route(BLOCK, "a")], 5,
                 id="heard twice"),
    pytest.param([], [came(5, BLOCK, "a"), came(6, "10.22.1.1", "", "cali1", protocol="boot")],
                 [route(BLOCK, "a")], 5, id="a pod's own route does not count"),
    pytest.param([route(BLOCK, "a")], [RouteChange(4, two_hops("a", "b"), replaces=True)],
                 [two_hops("b", "a")], 4, id="two next hops in any order"),
    pytest.param([route(BLOCK, "a")], [came(4, BLOCK, "b", metric=32), left(6, BLOCK, "a")],
                 [route(BLOCK, "b")], 6, id="another metric replaces nothing"),
])
def test_right_since_the_last_change_that_made_it_so(present, changes, wanted, right_since):
    progress = Progress(present, wanted)
    for change in changes:
        progress.apply(change)
    assert progress.right_since == right_since
    assert bool(progress.wrong) is (right_since is None)


@pytest.mark.root
def test_events_are_timed_by_the_kernels_notifications():
    def booted(net):
        watches.append(RouteWatch(net, began=1))

    watches = []
    net = CalicoNet(two_subnets("Always"))
    try:
        net.start(lambda: booted(net))
        with watches[0] as watch:
            boot = watch.settle(net.states, seconds=60, quiet=0.1)
            assert boot.values[NODES_CHANGED] == 3 == len(boot.series[NODE_TIMES])

            nodes = [node.name for node in net.nodes]
            watch.begin(nodes)
            net.set_ipip_mode("CrossSubnet")
            mode = watch.settle(net.states, seconds=60, quiet=0.1)
            # node33 is alone in its subnet and tunnels to both others as before.
            assert mode.values[NODES_CHANGED] == 2 and mode.values["route_changes"] == 2
            assert 0 < mode.series[NODE_TIMES][0] <= mode.series[NODE_TIMES][1] == (
                mode.values[CONVERGENCE])

            watch.begin(nodes)
            assert watch.settle(net.states, seconds=60, quiet=0.1).values == {
                CONVERGENCE: 0.0, NODES_CHANGED: 0, "route_changes": 0}

            watch.begin(nodes)
            incidents.pull(net, "r1", "rack-b")
            cut = incidents.without_sessions(net, lambda a, b: "node33" in (a, b), "the cable")
            with pytest.raises(ToolError, match=r"3 nodes without the right routes after 0\.2 s: "
                                                r"node31 \(to 10\.22\.33\.0/26\)"):
                watch.settle({**net.states, **{s.name: s for s in cut}}, seconds=0.2, quiet=0.1)
            watch.begin(nodes)
            net.runtime.writer.apply(cut)
            assert watch.settle(net.states, seconds=60, quiet=0.1).values[NODES_CHANGED] == 3
            with pytest.raises(ClusterError, match="no cable between node31 and rack-b"):
                incidents.pull(net, "node31", "rack-b")
    finally:
        net.stop()

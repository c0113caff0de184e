"""Each cause that docs/trace.md names, made for real: the trace names it, and its namespace."""

from __future__ import annotations

import pytest
from support.patience import SLOWNESS
from support.topologies import one_subnet

from calico_mn.trace.probe import trace

pytestmark = pytest.mark.root

PATIENCE = 0.15 * SLOWNESS


#    a@node31 ---- rack-a ---- node32: the pod's packet comes by eth0, node32's route back is tunl0
def test_what_the_destination_refuses_has_not_arrived(boot):
    net = boot(one_subnet("Always"), rp_filter=1)
    path = trace(net, "a", "node32", patience=PATIENCE)
    assert not path.forward.arrived
    assert (path.drop.leg, path.drop.cause, path.drop.namespace, path.drop.by) == (
        "forward", "rp-filter", "node32", "rp_filter=1 on eth0")
    assert path.reply is None

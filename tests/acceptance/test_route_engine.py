"""A cluster with another route engine than the built-in one."""

from support.routes import routes
from support.topologies import one_subnet

from calico_mn.bgp.builtin import BuiltInEngine


class Forgetful(BuiltInEngine):
    """Hands nothing on of what one node announces, as an import filter of its peers would."""

    name = "forgetful"

    def announce(self, prefixes):
        return super().announce({node: () if node == "node32" else given
                                 for node, given in prefixes.items()})


def test_routes_between_nodes_are_those_that_the_engine_hands_on(boot):
    net = boot(one_subnet("Always"), route_engine=Forgetful())
    assert net.distributor.name == "forgetful"
    (own,) = net["node31"].blocks
    (other,) = net["node32"].blocks
    assert not any(route.startswith(other) for route in routes(net, "node31"))
    assert any(route.startswith(own) for route in routes(net, "node32"))
    net.set_ipip_mode("Never")
    assert not any(route.startswith(other) for route in routes(net, "node31"))
    assert net.verify() == ()

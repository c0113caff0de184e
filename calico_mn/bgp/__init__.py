"""Who learned which prefix from which node: the exchange of routes between the nodes.

:class:`calico_mn.bgp.engine.RouteEngine` is what the cluster needs of an engine. The one here,
:class:`calico_mn.bgp.builtin.BuiltInEngine`, computes what a full mesh of speakers converges to; it
does not speak BGP on the wire, which a real BIRD behind the same interface would do.
"""

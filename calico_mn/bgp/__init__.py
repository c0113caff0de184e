"""Who learned which prefix from whom.

The engine here, :mod:`calico_mn.bgp.distributor`, exchanges BGP-like updates inside this
process; it does not speak BGP on the wire. A real BIRD can take its place behind
:class:`calico_mn.bgp.engine.RouteEngine`.
"""

"""Mininet's view of the cluster: nodes, links and the network object, as thin adapters.

A namespace is made by :mod:`calico_mn.kernel`; a node here only knows how to run programs in
it, and keeps Mininet's own names for that (``cmd``, ``popen``, ``pexec``).
"""

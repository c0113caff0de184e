"""The journey of one real packet through the cluster, from captures in every namespace.

:func:`calico_mn.trace.probe.trace` sends a packet that can be told from all others and gives a
:class:`calico_mn.trace.path_trace.Journey`; what was captured and what is made of it are apart:
:mod:`calico_mn.trace.analysis` is pure, and so are the text, the JSON and the picture.
"""

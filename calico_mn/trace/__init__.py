"""The path of one real packet through the cluster, from captures in every namespace.

    probe --> Recording --> analysis --> PathTrace --> text, JSON, picture (SVG)
    (sends, captures)       (pure)                     (pure)

:func:`calico_mn.trace.probe.trace` sends a probe that can be told from every other packet and
returns a :class:`calico_mn.trace.path_trace.PathTrace`. Only :mod:`calico_mn.trace.probe`
and :mod:`calico_mn.trace.inquiry` touch the cluster.
"""

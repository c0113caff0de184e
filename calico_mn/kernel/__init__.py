"""The only package that touches Linux: namespaces, rtnetlink, sysctls, tunnels, processes.

It is told states (:mod:`calico_mn.state`) and brings the kernel to them. It knows nothing of
pods, pools or modes.
"""

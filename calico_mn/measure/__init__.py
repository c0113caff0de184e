"""Measurements on a running cluster: traffic, latency, what the wire shows, order of trials.

Programs run through the nodes' ``popen``; every one has a time-out and is ended. Nothing here
prints, and nothing knows how results are shown: that is :mod:`calico_mn.report`.
"""

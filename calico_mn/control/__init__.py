"""A run that other processes can talk to: its daemon, the requests it takes, and who asks them.

The daemon is the process that holds a cluster's namespaces. It answers on a Unix socket in the
run's directory, so that a second terminal needs nothing of the first.
"""

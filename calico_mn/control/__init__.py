"""A run that other processes can ask: the daemon, its socket, and the operations behind it.

    session --protocol--> daemon --> dispatcher --> an operation --> CalicoNet
                                                    queries, resources: what there is
                                                    changes, traffic, verification

The daemon is the process that holds a cluster's namespaces. It answers on a Unix socket in the
run's directory, so that a second terminal needs nothing of the first. Mininet's prompt, in the
daemon's own terminal, asks the dispatcher directly.
"""

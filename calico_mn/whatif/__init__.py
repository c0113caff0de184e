"""What a change does to a running cluster: which pairs, path MTUs and routes differ after it.

    cluster, change --> observation --> Comparison --> findings, document, JSON
                        (pings, probes, traces)        (pure)

Every pod pings every other before the change and after it. Pairs that fare alike are reported
together, by where their nodes are.
"""

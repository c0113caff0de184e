"""Calico as pure functions: from the model to the state that each namespace should have.

One module per component, named as Calico names it. No subprocess, no socket, no file. The
version profile is that of Calico up to v3.25: BIRD programs the routes between nodes
(``proto bird``), pods' routes carry no metric, veths have no queue length.
"""

#: what results and tables say about the version of Calico that is modelled
PROFILE = "Calico <= v3.25 (BIRD programs routes between nodes)"

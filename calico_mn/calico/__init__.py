"""Calico as pure functions: from the model to the state that each namespace should have.

One module per component, named as Calico names it. No subprocess, no socket, no file. What differs
between releases of Calico is in :mod:`calico_mn.profile`.
"""

"""What the scripts in experiments/ share around their method: options, files, interruption.

The method itself is in the scripts, its instruments are in :mod:`calico_mn.measure`, and what
people read is made by :mod:`calico_mn.report`.
"""

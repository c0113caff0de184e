"""The wanted state against the kernel's: what differs, in lines of ``ip``, and what mends it.

Pure. Reading a namespace back is :mod:`calico_mn.kernel.reader`'s business, carrying a repair
out :mod:`calico_mn.kernel.mender`'s.
"""

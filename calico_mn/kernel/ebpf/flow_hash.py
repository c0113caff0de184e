"""Clear the flow hash of the packets that a device receives, as a cable between machines does.

A packet that one machine sends carries, beside its bytes, the hash of the socket that it came
from (skb->hash with l4_hash). Encapsulation keeps it, and so does a veth, and a router with
fib_multipath_hash_policy 1 believes it (fib_multipath_hash in net/ipv4/route.c): it tells flows
apart that on a real wire look alike. The remedy is a tc program where the router receives.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from calico_mn.errors import UnsupportedError
from calico_mn.kernel.ebpf import attach, program
from calico_mn.kernel.netlink import NetlinkSocket


def clear(indexes: Sequence[int]) -> None:
    """Attach the program to devices of the namespace that the calling thread is in.

    Raises UnsupportedError where the kernel cannot; then none of them has it.
    """
    descriptor = program.load_clear_flow_hash()
    try:
        with NetlinkSocket() as netlink:
            refused = netlink.attempt([attach.clsact(index) for index in indexes])
            taken = {error.index for error in refused}
            ours = [index for position, index in enumerate(indexes) if position not in taken]
            failures = refused or netlink.attempt(
                [attach.ingress(index, descriptor, program.CLEAR_FLOW_HASH) for index in indexes])
            if failures:
                netlink.attempt([attach.clsact_removal(index) for index in ours])
                raise UnsupportedError(
                    f"flow hashes cannot be erased here ({failures[0].reason}): that needs"
                    " CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF, and routers whose devices"
                    " have no clsact qdisc yet") from failures[0]
    finally:
        os.close(descriptor)


def keep(indexes: Sequence[int]) -> None:
    """Take the program away again; where it is gone already nothing happens."""
    with NetlinkSocket() as netlink:
        netlink.attempt([attach.clsact_removal(index) for index in indexes])

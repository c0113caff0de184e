"""What a node's reverse path filter has thrown away, by the kernel's own count."""

from __future__ import annotations

from calico_mn.errors import ToolError
from calico_mn.measure.metrics import metric
from calico_mn.measure.programs import Host, run

RP_DROPPED = metric("rp_dropped", "packets",
                    "packets that a node's reverse path filter dropped", more_is_better=False)

_TIMEOUT_S = 10.0
_COUNTER = "IPReversePathFilter"


def reverse_path_drops(host: Host) -> int:
    """Packets since the namespace was made that failed the reverse path filter (rp_filter).

    The counter is LINUX_MIB_IPRPFILTER (net/ipv4/route.c, net/ipv4/ip_input.c); a namespace has
    its own. Raises ToolError when the kernel does not show it.
    """
    finished = run(host, ["cat", "/proc/net/netstat"], _TIMEOUT_S)
    found = parse(finished.out)
    if found is None:
        raise ToolError(f"{host.name}: /proc/net/netstat shows no {_COUNTER}")
    return found


def parse(netstat: str) -> int | None:
    """The counter from /proc/net/netstat: for each group a line of names and one of numbers."""
    lines = netstat.splitlines()
    for names, numbers in zip(lines[::2], lines[1::2], strict=False):
        for name, number in zip(names.split(), numbers.split(), strict=False):
            if name == _COUNTER and number.isdigit():
                return int(number)
    return None

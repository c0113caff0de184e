"""CalicoNet with instruments: a cluster that is also asked for throughputs, traces and a drawing.

The class that programs import from :mod:`calico_mn`. What it adds stands on the rooms above
:mod:`calico_mn.emulation`, which does not know them. As in Mininet, ``iperf`` and ``trace`` print
what they find through Mininet's log and return it; ``setLogLevel("warning")`` keeps them silent.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calico_mn.calico.pools import wish
from calico_mn.emulation import net
from calico_mn.emulation.mininet import output
from calico_mn.emulation.node import NamespaceNode
from calico_mn.errors import ClusterError
from calico_mn.model import Topology
from calico_mn.topology import load_topology

if TYPE_CHECKING:
    from calico_mn.exercises.course import Course
    from calico_mn.measure.throughput import Throughput
    from calico_mn.trace.path_trace import PathTrace

#: parameters of Mininet's that would build another network
_MININETS = {"topo", "switch", "host", "controller", "link", "intf", "build", "cleanup", "ipBase",
             "xterms", "autoSetMacs", "autoStaticArp", "autoPinCpus", "inNamespace", "listenPort",
             "waitConnected"}


class CalicoNet(net.CalicoNet):
    """See :class:`calico_mn.emulation.net.CalicoNet`, whose parameters and methods it has.

    ``topology`` may also be the path of a topology file, or several paths. Raises TopologyError
    for what is wrong in them.
    """

    def __init__(self, topology: Topology | Path | str | Iterable[Path | str] | None = None,
                 **options: Any) -> None:
        lacking = sorted(set(options) & _MININETS)
        if topology is None or lacking:
            raise ClusterError(
                f"CalicoNet has no {', '.join(lacking) or 'topology'}: it takes the path of a"
                " topology file or what load_topology returns; 'calico-mn init' prints a file to"
                " begin with")
        if isinstance(topology, str):
            topology = Path(topology)
        super().__init__(topology if isinstance(topology, Topology) else load_topology(
            topology if isinstance(topology, Path) else map(Path, topology)), **options)

    @cached_property
    def exercises(self) -> Course:
        """The exercises: ``net.exercises.begin(4)``, ``hint()``, ``solution()``, ``reset()``."""
        from calico_mn.exercises.course import Course

        return Course(self)

    def iperf(self, client: str | NamespaceNode | list[Any] | None = None,
              server: str | NamespaceNode | None = None, l4Type: str = "TCP",  # noqa: N803
              udpBw: str = "", seconds: int = 5, streams: int = 1,  # noqa: N803
              reverse: bool = False) -> Throughput:
        """Throughput from ``client`` to ``server``; see :func:`.throughput.throughput`.

        Each is a node or its name; a list of both will do, as in Mininet, and without any they are
        the first and the last pod. ``l4Type`` is TCP or UDP, ``udpBw`` UDP's rate (10M by default).
        Raises ClusterError for what cannot be, ToolError where the other end does not answer.
        """
        from calico_mn.measure.throughput import throughput

        listed = client if isinstance(client, list) else [client, server]
        ends = [end for end in listed if end is not None] or [*self.pods[:1], *self.pods[-1:]]
        if len(listed) != 2 or len(ends) != 2:
            raise ClusterError("iperf is between two places: name both, or none where pods run")
        if l4Type not in ("TCP", "UDP"):
            raise ClusterError(f"l4Type is TCP or UDP, not {l4Type!r}")
        near, far = (self[name] for name in self.names_of(ends))
        measured = throughput(self, near, far, seconds=seconds, streams=streams, rate=udpBw,
                              use_udp=l4Type == "UDP", reverse=reverse)
        output(f"{measured}\n")
        return measured

    def trace(self, source: str | NamespaceNode, destination: str | NamespaceNode, *,
              cold: bool = False, full: bool = False, **probe: Any) -> PathTrace:
        """Follow one packet from a place to a place or an address; see :func:`.probe.trace`.

        ``probe`` are fields of :class:`.recording.Probe`, such as ``protocol="tcp", port=80``;
        ``full`` prints every step of the reply, too. Raises ClusterError for unknown names.
        """
        from calico_mn.trace import text
        from calico_mn.trace.probe import trace
        from calico_mn.trace.recording import Probe

        try:
            packet = Probe(**probe)
        except TypeError as error:
            raise ClusterError(f"trace: {str(error).partition(') ')[2]}") from None
        path = trace(self, str(source), str(destination), packet, cold=cold)
        for line in text.lines(path, full_reply=full):
            output(f"{line}\n")
        return path

    def graph(self, form: str = "svg", mode: str | None = None, encapsulation: str | None = None
              ) -> str:
        """The cluster drawn: ``svg``, ``dot`` or ``mermaid``, as text.

        A mode or an encapsulation adds the ways that packets then take to an SVG.
        """
        from calico_mn.report import drawing

        return drawing.graph(self.cluster, form, *wish(mode, encapsulation))

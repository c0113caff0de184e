"""What every experiment says alike: the cluster and the machine in the heading, and whatever of
the report follows from the run itself.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Sized
from pathlib import Path

from calico_mn.emulation.net import CalicoNet
from calico_mn.experiment.run import Run
from calico_mn.report import terminal
from calico_mn.report.document import Document, Figure, Table
from calico_mn.report.matrix import Matrices


def facts(run: Run, net: CalicoNet) -> list[tuple[str, str]]:
    """Lines of a heading: topology, tunnel, who distributes routes, profile, machine."""
    machine = run.environment["machine"]
    subnets = {net.topology.subnet_of(node.address.ip) for node in net.topology.nodes}
    return [
        ("topology", f"{from_here(run.source)}: {some(net.nodes, 'node')} in"
         f" {some(subnets, 'subnet')}, {some(net.pods, 'pod')}"),
        ("tunl0", f"{net.tunnel}: {terminal.TUNNELS[net.tunnel]}"),
        ("routes by", net.distributor.name),
        ("profile", net.profile),
        ("machine", f"Linux {machine['kernel']}, {machine['cpus']} CPUs,"
         f" load {machine['load_average'][0]:g}"),
    ]


def document(run: Run, *, title: str, question: str, method: Iterable[str],
             findings: Iterable[str], tables: Iterable[Table], figures: Iterable[Figure] = (),
             caveats: Iterable[str] = (), matrices: Matrices | None = None,
             data: Iterable[Table] = ()) -> Document:
    """A report, with what the run itself knows filled in."""
    command = [sys.executable, from_here(sys.argv[0]), *run.options.arguments]
    quick = ("This was --quick: a look rather than a measurement.",) if run.options.quick else ()
    return Document(
        experiment=run.experiment, title=title, question=question, method=tuple(method),
        findings=tuple(findings), tables=tuple(tables), figures=tuple(figures),
        caveats=(*caveats, *quick), reproduce=(shlex.join(command),), matrices=matrices,
        environment=run.environment, date=str(run.environment["date"])[:10],
        topology=_picture(run), cut_short=run.interruption.reason, failures=tuple(run.failures),
        data=tuple(data))


def _picture(run: Run) -> Figure | None:
    if run.picture is None:
        return None
    name = Path(run.source).name
    return Figure("topology", f"The cluster of {name}", run.picture,
                  f"Subnets, routers, nodes and pods of {name}, with their addresses.")


def from_here(path: str) -> str:
    """The path as one would type it where this was called."""
    try:
        return str(Path(path).resolve().relative_to(Path.cwd()))
    except ValueError:
        return path


def some(things: Sized, name: str) -> str:
    """``1 node``, ``3 nodes``."""
    return f"{len(things)} {name}" + ("s" if len(things) != 1 else "")

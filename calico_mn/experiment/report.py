"""Parts that every experiment's report has: those that follow from the run itself."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from calico_mn.emulation.net import CalicoNet
from calico_mn.experiment.run import Run
from calico_mn.kernel.tunnel import describe_backend
from calico_mn.report.document import Document, Figure, Table
from calico_mn.report.matrix import Matrices
from calico_mn.text import plural

if TYPE_CHECKING:
    from calico_mn.experiment.frame import Experiment


def heading(run: Run, net: CalicoNet) -> list[tuple[str, str]]:
    """Lines of a heading: topology, tunnel, who distributes routes, profile, machine."""
    machine = run.environment["machine"]
    subnets = {net.topology.subnet_of(node.address.ip) for node in net.topology.nodes}
    return [
        ("topology", f"{_from_here(run.source)}: {plural(len(net.nodes), 'node')} in"
         f" {plural(len(subnets), 'subnet')}, {plural(len(net.pods), 'pod')}"),
        (run.encapsulation.device, f"{run.tunnel(net)}: {made_by(run, net)}"),
        ("Felix's rules", "none (--no-policy)" if net.iptables == "none"
         else f"iptables-{net.iptables}"),
        ("routes by", net.distributor.name),
        ("profile", net.profile),
        ("machine", f"Linux {machine['kernel']}, {machine['cpus']} CPUs,"
         f" load {machine['load_average'][0]:g}"),
    ]


def made_by(run: Run, net: CalicoNet) -> str:
    """What makes the run's tunnel devices, in words."""
    return (describe_backend(net.tunnel) if run.encapsulation.has_back_end
            else f"the kernel's {run.encapsulation.name.lower()} module")


def trials_line(run: Run, counted: str, seconds: float) -> tuple[str, str]:
    """The heading's line about trials: ``counted`` of them, each so often, in so much time."""
    return ("trials", f"{counted} x {plural(run.repeats, 'repeat')}, in random order"
            f" (seed {run.options.seed}); about {seconds:.0f} s")


def document(run: Run, experiment: Experiment, *, title: str, findings: Iterable[str],
             tables: Iterable[Table], figures: Iterable[Figure] = (), caveats: Iterable[str] = (),
             matrices: Matrices | None = None, data: Iterable[Table] = ()) -> Document:
    """A report, with what the experiment and the run themselves know filled in."""
    command = [sys.executable, _from_here(sys.argv[0]), *run.options.arguments]
    quick = ("This was --quick: a look rather than a measurement.",) if run.options.quick else ()
    return Document(
        experiment=run.experiment, title=title, question=experiment.question,
        method=experiment.method,
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


def _from_here(path: str) -> str:
    """The path as one would type it where this was called."""
    try:
        return str(Path(path).resolve().relative_to(Path.cwd()))
    except ValueError:
        return path

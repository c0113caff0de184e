"""What an experiment says before it measures, and the parts that every report has: those that
follow from the run itself.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calico_mn.calico.encapsulation import DEFAULT
from calico_mn.emulation.net import CalicoNet
from calico_mn.experiment.run import Run
from calico_mn.kernel.tunnel import describe_backend
from calico_mn.kubernetes.cluster import RealCluster
from calico_mn.measure.paths import Net
from calico_mn.measure.readings import Value
from calico_mn.measure.trials import Trial
from calico_mn.report.document import Document, Figure, Table
from calico_mn.report.matrix import Matrices
from calico_mn.text import plural

if TYPE_CHECKING:
    from calico_mn.experiment.frame import Experiment


QUICK = "Quick run: do not report these numbers."


def heading(run: Run, net: Net) -> list[tuple[str, str]]:
    """Lines of a heading: topology, tunnel, who distributes routes, profile, machine."""
    if run.real:
        return _heading_of(run.real, run.environment)
    assert isinstance(net, CalicoNet)
    machine = run.environment["machine"]
    subnets = {net.topology.subnet_of(node.address.ip) for node in net.topology.nodes}
    return [
        ("topology", f"{_from_here(run.source)}: {plural(len(net.nodes), 'node')} in"
         f" {plural(len(subnets), 'subnet')}, {plural(len(net.pods), 'pod')}"),
        (run.encapsulation.device, f"{run.tunnel(net)}: " + (
            describe_backend(net.tunnel) if run.encapsulation.has_back_end
            else f"the kernel's {run.encapsulation.name.lower()} module")),
        ("Felix's rules", "none (--no-policy)" if net.iptables == "none"
         else f"iptables-{net.iptables}"),
        ("routes by", net.distributor.name),
        ("profile", net.profile),
        ("machine", f"Linux {machine['kernel']}, {machine['cpus']} CPUs,"
         f" load {machine['load_average'][0]:g}"),
    ]


def _heading_of(cluster: RealCluster, environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    about, versions = environment["cluster"], environment["versions"]
    subnets = {node.subnet for node in cluster.placement.nodes}
    return [
        ("cluster", f"{cluster.server}: Kubernetes {versions['kubernetes'] or 'of unknown version'}"
         f", Calico {versions['calico'] or 'of unknown version'}"),
        ("pods", f"{about['pods']} in namespace {cluster.namespace.name}, on"
         f" {plural(about['nodes'], 'node')} in {plural(len(subnets), 'subnet')}"),
        ("pool", f"{about['pool']}, {about['cidr']}: {about['encapsulation']} {about['mode']}"),
        ("wire", "tcpdump on the nodes' uplinks" if cluster.uplinks else "not looked at"),
        ("nodes", f"Linux {environment['machine']['kernel']}")]


def begin(run: Run, net: Net, title: str, settings: Sequence[Mapping[str, Value]],
          seconds: Callable[[Trial], float], before_s: float = 0, /, *, noun: str = "setting",
          facts: Mapping[str, str] | None = None, **plan: Any) -> None:
    """Fill in the run's plan, and say what it does and how long that takes.

    ``seconds`` is how long a trial is expected to take, ``before_s`` what comes before the trials.
    ``facts`` are further lines of the heading;
    one that the heading has already takes its place. ``plan`` is the experiment's own part.
    """
    run.plan, run.trial_seconds = {**plan, **run.design}, seconds
    total = before_s + run.repeats * sum(seconds(Trial(setting, 1)) for setting in settings)
    run.heading(title, [*{**dict(heading(run, net)), **(facts or {})}.items(), (
        "trials", f"{plural(len(settings), noun)} x {plural(run.repeats, 'repeat')}, in random"
        f" order (seed {run.options.seed}); about {total:.0f} s")], total)


def document(run: Run, experiment: Experiment, *, title: str, findings: Iterable[str],
             tables: Iterable[Table], figures: Iterable[Figure] = (), caveats: Iterable[str] = (),
             matrices: Matrices | None = None, data: Iterable[Table] = ()) -> Document:
    """A report, with what the experiment and the run themselves know filled in."""
    script = f"experiments/{run.experiment.replace('-', '_')}.py"
    versions = run.environment["versions"]
    code = "".join(f", {name} {versions[key]}" for name, key in (
        ("code", "calico_mn_source"), ("commit", "calico_mn_commit")) if versions.get(key))
    quick = (QUICK,) if run.options.quick else ()
    sudo = [] if run.options.real else ["sudo"]
    return Document(
        experiment=run.experiment, title=title, question=experiment.question,
        method=experiment.method,
        findings=tuple(findings), tables=tuple(tables), figures=tuple(figures),
        caveats=(*caveats, *run.environment.get("notes", ()), *quick), reproduce=(
            f"# calico_mn {versions['calico_mn']}{code}",
            shlex.join([*sudo, ".venv/bin/python", script, *run.options.arguments])),
        matrices=matrices,
        environment=run.environment, date=str(run.environment["date"])[:10],
        topology=_picture(run), cut_short=run.interruption.reason, failures=tuple(run.failures),
        data=tuple(data), quick=run.options.quick, design=(
            plural(run.repeats, "repeat"), f"{run.duration:g} s a measurement",
            f"seed {run.options.seed}",
            *([] if run.elapsed_s is None else [f"took {run.elapsed_s:.0f} s"])))


def caption(run: Run) -> str:
    """For below a picture: what was measured where."""
    cluster, machine = run.environment["cluster"], run.environment["machine"]
    device = [] if run.options.real else [
        f"{DEFAULT.device}: {describe_backend(cluster['tunnel'])}"]
    cpus = [plural(machine["cpus"], "CPU")] if machine.get("cpus") else []
    return "  \u00b7  ".join([
        *device, ", ".join([f"Linux {machine['kernel']}", *cpus]), Path(run.source).name,
        str(run.environment["date"])[:10]])


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

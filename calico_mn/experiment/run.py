"""A run while it measures: its clusters, its log of readings, its progress."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from calico_mn.emulation.net import CalicoNet
from calico_mn.errors import ClusterError, KernelError, ToolError
from calico_mn.experiment import record
from calico_mn.experiment.interruption import Interruption
from calico_mn.experiment.invoker import writing
from calico_mn.experiment.options import Options
from calico_mn.measure import environment
from calico_mn.measure.metrics import Measurement, Value
from calico_mn.measure.readings import Reading, ReadingLog
from calico_mn.measure.trials import Trial
from calico_mn.model import EncapsulationMode, Link, Topology
from calico_mn.report import drawing, terminal
from calico_mn.streams import complain


@dataclass
class Run:
    """What an experiment's method works with.

    ``topology`` is the file's, whose name is ``source``; :meth:`net` boots it. Readings go to
    ``log``. ``failures`` says of each trial that gave none why; a resumed run tries those again.
    ``plan`` is for run.json: whatever a reader needs to know of the design; ``notes`` are for
    summary.json. ``steal_share`` is the share of CPU time that other machines took meanwhile,
    ``picture`` an SVG of the first cluster that was booted.
    """

    experiment: str
    options: Options
    topology: Topology
    source: str
    directory: Path
    log: ReadingLog
    out: Console
    interruption: Interruption
    failures: list[str] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)
    plan: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    steal_share: float | None = None
    picture: str | None = None
    _nets: dict[tuple[str, int, float, int], CalicoNet] = field(default_factory=dict)
    _running: list[CalicoNet] = field(default_factory=list)
    _stack: ExitStack = field(default_factory=ExitStack)
    _bar: terminal.ProgressBar | None = None

    # --- clusters

    def net(self, *, tunnel: str | None = None, pod_mtu: int = 0, rate: float = 0,
            rp_filter: int = 2) -> CalicoNet:
        """The running cluster with these boot-time factors; booted at first use.

        ``pod_mtu`` in bytes and ``rate`` of every link in Mbit/s: 0 leaves them to the topology.
        Clusters with different factors run side by side until the run ends.
        """
        key = (tunnel or self.options.tunnel, pod_mtu, rate, rp_filter)
        if key not in self._nets:
            topology = changed(self.topology, pod_mtu=pod_mtu, rate=rate)
            net = self.enter(topology, tunnel=tunnel, rp_filter=rp_filter)
            # Whoever asks for "auto" and whoever asks for what it became means the same one.
            self._nets[key] = self._nets[net.tunnel, pod_mtu, rate, rp_filter] = net
        return self._nets[key]

    def enter(self, topology: Topology, *, tunnel: str | None = None, rp_filter: int = 2
              ) -> CalicoNet:
        """Boot a cluster that runs until the run ends. The first one is the environment's."""
        net = self._new(topology, tunnel, rp_filter)
        if not self._nets:
            for warning in net.warnings:
                complain(warning)
        with self.interruption.held_off():
            net.start()
            self._stack.callback(self._end, net)
            self._running.append(net)
        if self.picture is None:
            self.picture = drawing.draw(net.cluster)
        if not self.environment:
            self.environment = environment.collect(net)
            # A resumed run reads a copy of the file.
            self.environment["cluster"]["topology"] = self.source
            with writing(self.directory):
                record.add(self.directory, {"environment": self.environment})
        return net

    @contextmanager
    def passing(self, topology: Topology, *, tunnel: str | None = None, rp_filter: int = 2
                ) -> Iterator[CalicoNet]:
        """A cluster for the time of a ``with`` only."""
        net = self._new(topology, tunnel, rp_filter)
        try:
            with self.interruption.held_off():
                net.start()
            self._running.append(net)
            try:
                yield net
            except (ToolError, KernelError):
                # Whoever notes the failure finds this cluster stopped.
                self.look_over("Noticed when a measurement in it failed.")
                raise
        finally:
            if net in self._running:
                self._running.remove(net)
            with self.interruption.held_off():
                net.stop()

    def _new(self, topology: Topology, tunnel: str | None, rp_filter: int) -> CalicoNet:
        net = CalicoNet(topology, tunnel=tunnel or self.options.tunnel, rp_filter=rp_filter,
                        raise_neighbour_limit=self.options.raise_neighbour_limit)
        if getattr(self.options.own, "modes", ()) == (EncapsulationMode.NEVER,):
            # Whatever the topology says: so it needs no tunl0, where none can be had.
            net.set_ipip_mode(EncapsulationMode.NEVER)
        return net

    def _end(self, net: CalicoNet) -> None:
        number = len(list(self.directory.glob("logs*"))) + 1
        self._running.remove(net)
        try:
            self._save_logs(net, self.directory / ("logs" if number == 1 else f"logs-{number}"))
        finally:
            net.stop()

    def _save_logs(self, net: CalicoNet, target: Path) -> None:
        """As ``net.save_logs``; but root alone can read them, and the files are the invoker's."""
        logs = net.runtime.directory.logs
        found = {path.relative_to(logs): path.read_bytes()
                 for path in sorted(logs.rglob("*")) if path.is_file() and not path.is_symlink()}
        with writing(self.directory):
            for path, content in found.items():
                (target / path).parent.mkdir(parents=True, exist_ok=True)
                (target / path).write_bytes(content)

    def close(self) -> None:
        """Stop every cluster; their logs are kept."""
        self._stack.close()

    # --- readings

    def take(self, instrument: str, trial: Trial, measure: Callable[[], Measurement], *,
             also: dict[str, Value] | None = None, seen: dict[str, Value] | None = None
             ) -> Reading:
        """Measure and write down; a resumed run finds what was written down before.

        ``also`` are factors besides the trial's, ``seen`` what was observed before measuring.
        """
        setting = {**trial.setting, **(also or {})}
        found = self.log.find(instrument, setting, trial.repeat)
        if found is not None:
            return found
        taken = measure()
        return self.log.add(instrument, setting,
                            replace(taken, seen={**(seen or {}), **taken.seen}), trial.repeat)

    def keep(self, instrument: str, trial: Trial, taken: Measurement, *,
             also: dict[str, Value] | None = None) -> Reading:
        """Write down what was measured already, as one of several things seen at once."""
        return self.take(instrument, trial, lambda: taken, also=also)

    def has(self, trial: Trial, instruments: Collection[tuple[str, dict[str, Value]]]) -> bool:
        """Whether all these (instrument, further factors) were read in this trial before."""
        return all(self.log.find(name, {**trial.setting, **also}, trial.repeat)
                   for name, also in instruments)

    @contextmanager
    def attempt(self, what: object) -> Iterator[None]:
        """What a measuring program fails at is noted, and the run goes on.

        Unless somebody has changed the cluster by hand: then ClusterError says what, and ends it.
        """
        try:
            yield
        except (ToolError, KernelError) as error:
            self.look_over(f"Noticed when a trial failed: {what}: {str(error).splitlines()[0]}.")
            if isinstance(error, KernelError):
                raise
            self.failures.append(f"{what}: {error}")

    def look_over(self, noticed: str) -> None:
        """Raise ClusterError if a running cluster is not any more what it was set up to be.

        ``noticed`` is a sentence that says when that came to light.
        """
        changed_by_hand = [text for net in self._running for text in _changed_by_hand(net)]
        if changed_by_hand:
            raise ClusterError(
                f"the cluster is not as it was set up any more: {'; '.join(changed_by_hand)}."
                f" {noticed} What was measured since that happened is of the changed cluster")

    # --- progress

    def heading(self, title: str, facts: list[tuple[str, str]], seconds: float) -> None:
        """Say what runs, and how long it is expected to take; then a bar runs on a terminal."""
        for warning in self.topology.warnings:
            complain(warning)
        terminal.heading(self.out, title, facts)
        self._bar = self._stack.enter_context(terminal.progress(self.out, seconds))

    def step(self, doing: str, seconds: float) -> None:
        """So many of the expected seconds' work is done, the last of it being ``doing``."""
        if self._bar is not None:
            self._bar.step(doing, seconds)


def _changed_by_hand(net: CalicoNet) -> tuple[str, ...]:
    try:
        return net.changed_by_hand()
    except KernelError as error:
        return (str(error),)


def changed(topology: Topology, *, pod_mtu: int = 0, tunnel_mtu: int = 0, link_mtu: int = 0,
            rate: float = 0) -> Topology:
    """The topology with other MTUs of pods, tunl0 and all links (bytes), or another rate (Mbit/s).

    What is 0 stays as the topology says.
    """
    underlay = topology.underlay
    return replace(
        topology, veth_mtu=pod_mtu or topology.veth_mtu,
        felix=replace(topology.felix, ipip_mtu=tunnel_mtu or topology.ipip_mtu),
        underlay=replace(underlay, subnets=tuple(
            replace(subnet, mtu=link_mtu or subnet.mtu,
                    link=Link(rate=rate or subnet.link.rate, delay=subnet.link.delay))
            for subnet in underlay.subnets)))

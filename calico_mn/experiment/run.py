"""A run while it measures: its clusters, its log of readings, its progress."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from calico_mn.bgp.timers import Timers
from calico_mn.calico.encapsulation import DEFAULT, ENCAPSULATIONS, Encapsulation
from calico_mn.calico.pools import PoolMode
from calico_mn.calico.remote_routes import ClusterRoutes, as_of
from calico_mn.emulation.net import CalicoNet
from calico_mn.errors import ClusterError, KernelError, ToolError
from calico_mn.experiment import real, record
from calico_mn.experiment.arguments import Factor, Options
from calico_mn.experiment.interruption import Interruption
from calico_mn.kubernetes.cluster import RealCluster
from calico_mn.measure import environment
from calico_mn.measure.paths import Net
from calico_mn.measure.reading_log import ReadingLog
from calico_mn.measure.readings import Measurement, Reading, Value
from calico_mn.measure.trials import Trial, interleaved
from calico_mn.model import EncapsulationMode, Topology
from calico_mn.privileges import as_invoking_user
from calico_mn.report import drawing, terminal
from calico_mn.streams import complain

T = TypeVar("T")
#: an instrument's name, and the factors of its own that a reading has besides the trial's
Named = tuple[str, Mapping[str, Value]]


@dataclass
class Run:
    """What an experiment's method works with.

    ``run[FACTOR]`` is what was asked for. ``topology`` is the file's, whose name is ``source``;
    :meth:`net` boots it. Readings go to ``log``. ``failures`` says of each trial that gave none
    why; a resumed run tries those again. ``plan`` is for run.json: all that a reader needs to know
    of the design; ``notes`` are for summary.json. ``steal_share`` is the share of CPU time that
    other machines took meanwhile, ``elapsed_s`` how long it measured, ``picture`` an SVG of the
    first cluster that was booted. ``trial_seconds`` is how long a trial is expected to take.
    ``real`` is the real cluster of such a run.
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
    elapsed_s: float | None = None
    picture: str | None = None
    trial_seconds: Callable[[Trial], float] = lambda _: 0.0
    real: RealCluster | None = None
    _nets: dict[tuple[object, ...], CalicoNet] = field(default_factory=dict)
    _running: list[CalicoNet] = field(default_factory=list)
    _stack: ExitStack = field(default_factory=ExitStack)
    _bar: Callable[[str, float], None] | None = None

    def __getitem__(self, factor: Factor[T]) -> T:
        return self.options[factor]

    @property
    def encapsulation(self) -> Encapsulation:
        """What was asked for with ``--encapsulation``."""
        return self.options.encapsulation

    @property
    def encapsulation_factor(self) -> dict[str, Value]:
        """It as a factor of settings, and in a plan; left out where it is DEFAULT."""
        return {} if self.encapsulation is DEFAULT else {"encapsulation": str(self.encapsulation)}

    def tunnel(self, net: CalicoNet) -> str:
        """What makes the tunnel devices: a back end's name. VXLAN's are the kernel's."""
        return net.tunnel if self.encapsulation.has_back_end else "kernel"

    @property
    def repeats(self) -> int:
        """Trials of each setting."""
        return self.options.repetitions.repeats

    @property
    def duration(self) -> float:
        """Seconds of a measurement."""
        return self.options.repetitions.duration

    def levels(self, *factors: Factor[Sequence[Value]]) -> dict[str, Any]:
        """What was asked for of these factors, as a plan has it: ``{"modes": ["Never"]}``."""
        return {factor.name: list(self[factor]) for factor in factors}

    @property
    def design(self) -> dict[str, Value]:
        """What the plan of every experiment has."""
        return {"repeats": self.repeats, "duration_s": self.duration, "seed": self.options.seed,
                "quick": self.options.quick, **self.encapsulation_factor}

    # --- clusters

    def cluster(self, *, tunnel: str | None = None, pod_mtu: int = 0, rate: float = 0,
                encapsulation: Encapsulation | None = None) -> Net:
        """The real cluster of the run; without one an emulated cluster, as :meth:`net` has it."""
        return self.real or self.net(tunnel=tunnel, pod_mtu=pod_mtu, rate=rate,
                                     encapsulation=encapsulation)

    def net(self, *, tunnel: str | None = None, pod_mtu: int = 0, rate: float = 0,
            rp_filter: int = 2, encapsulation: Encapsulation | None = None,
            policies: bool = True, iptables: str | None = None) -> CalicoNet:
        """The running cluster with these boot-time factors; booted at first use.

        ``pod_mtu`` in bytes and ``rate`` of every link in Mbit/s: 0 leaves them to the topology.
        ``encapsulation`` is that of all pools; without it what was asked for, else the topology's.
        ``policies`` False boots without Felix's rules, ``iptables`` is what writes them. Clusters
        with different factors run side by side until the run ends.
        """
        if encapsulation is None and self.encapsulation is not DEFAULT:
            encapsulation = self.encapsulation
        others = (pod_mtu, rate, rp_filter, encapsulation, policies, iptables)
        key = (tunnel or self.options.tunnel, *others)
        if key not in self._nets:
            topology = changed(self.topology, pod_mtu=pod_mtu, rate=rate,
                               encapsulation=encapsulation)
            net = self._boot(topology, tunnel, rp_filter, policies, iptables)
            # "auto" and the back end that it became mean the same cluster.
            self._nets[key] = self._nets[(net.tunnel, *others)] = net
        return self._nets[key]

    @property
    def routes(self) -> ClusterRoutes:
        """Who writes the routes between nodes."""
        return ClusterRoutes.of(as_of(self.topology, self.options.profile))

    def _boot(self, topology: Topology, *factors: Any) -> CalicoNet:
        """A cluster that runs until the run ends. The first one is the environment's."""
        net = self._new(topology, *factors)
        if not self._nets:
            for warning in net.warnings:
                complain(warning)
        with self.interruption.deferred():
            net.start()
            self._stack.callback(self._end, net)
            self._running.append(net)
        if self.picture is None:
            self.picture = drawing.draw(net.cluster)
        if not self.environment:
            self.environment = environment.collect(net)
            # A resumed run reads a copy of the file.
            self.environment["cluster"]["topology"] = self.source
            with as_invoking_user(self.directory):
                record.add(self.directory, {"environment": self.environment})
        return net

    @contextmanager
    def temporary_cluster(self, topology: Topology, *, engine: str | None = None,
                          timers: Timers | None = None,
                          created: Callable[[CalicoNet], object] | None = None
                          ) -> Iterator[CalicoNet]:
        """A cluster for the time of a ``with`` only.

        ``engine`` with ``timers`` takes the place of what was asked for; ``created`` is called
        when its namespaces are there, and still empty.
        """
        net = self._new(topology, engine=engine, timers=timers)
        try:
            with self.interruption.deferred():
                net.start(None if created is None else lambda: created(net))
            self._running.append(net)
            try:
                yield net
            except (ToolError, KernelError):
                # Where the failure is noted, this cluster is stopped already.
                self.check("Noticed when a measurement in it failed.")
                raise
        finally:
            if net in self._running:
                self._running.remove(net)
            with self.interruption.deferred():
                net.stop()

    def _new(self, topology: Topology, tunnel: str | None = None, rp_filter: int = 2,
             policies: bool = True, iptables: str | None = None, engine: str | None = None,
             timers: Timers | None = None) -> CalicoNet:
        net = CalicoNet(topology, tunnel=tunnel or self.options.tunnel, rp_filter=rp_filter,
                        iptables=iptables or self.options.iptables,
                        policies=policies and self.options.policies,
                        engine=engine or self.options.engine, profile=self.options.profile,
                        timers=timers if engine else self.options.bird_timers,
                        raise_neighbour_limit=self.options.raise_neighbour_limit)
        if self.options.levels.get("--modes") == (EncapsulationMode.NEVER,):
            # Then the boot needs no tunnel device, which not every machine can have.
            net.set_mode(EncapsulationMode.NEVER)
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
        contents = {path.relative_to(logs): path.read_bytes()
                 for path in sorted(logs.rglob("*")) if path.is_file() and not path.is_symlink()}
        with as_invoking_user(self.directory):
            for path, content in contents.items():
                (target / path).parent.mkdir(parents=True, exist_ok=True)
                (target / path).write_bytes(content)

    def open(self) -> None:
        """Make the pods in the real cluster, if the run is on one; :meth:`close` removes them."""
        if self.real:
            self._stack.callback(real.end, self.real, self.interruption)
            real.begin(self, self.real)

    def close(self) -> None:
        """Stop every cluster; their logs are kept."""
        self._stack.close()

    # --- readings

    def trials(self, settings: Sequence[Mapping[str, Value]], measure: Callable[[Trial], object], *,
               doing: Callable[[Trial], str],
               readings: Callable[[Trial], Collection[Named]] | None = None,
               name: Callable[[Trial], object] = str) -> None:
        """Measure every setting in turn, in seeded random order, as often as was asked for.

        ``doing`` is for the progress, ``name`` is a trial's in a failure. With ``readings``, a
        trial that has all of these already is not measured again; without, its ``measure`` leaves
        out what it finds.
        """
        for trial in interleaved(settings, self.repeats, self.options.seed):
            if readings is None or not self.has(trial, readings(trial)):
                with self.trial(name(trial)):
                    measure(trial)
            self.step(doing(trial), self.trial_seconds(trial))

    def measure(self, instrument: str, trial: Trial, take: Callable[[], Measurement], *,
                factors: Mapping[str, Value] | None = None,
                observed: Mapping[str, Value] | None = None) -> Reading:
        """Measure and write down; a resumed run finds what was written down before.

        ``factors`` are further ones besides the trial's, ``observed`` what was seen before
        measuring.
        """
        setting = {**trial.setting, **(factors or {})}
        before = self.log.find(instrument, setting, trial.repeat)
        if before is not None:
            return before
        measurement = take()
        return self.log.add(
            instrument, setting,
            replace(measurement, seen={**(observed or {}), **measurement.seen}), trial.repeat)

    def record(self, instrument: str, trial: Trial, measurement: Measurement, *,
               factors: Mapping[str, Value] | None = None) -> Reading:
        """Write down what was measured already, as one of several things seen at once."""
        return self.measure(instrument, trial, lambda: measurement, factors=factors)

    def has(self, trial: Trial, readings: Collection[Named]) -> bool:
        """Whether all these were read in this trial before."""
        return all(self.log.find(name, {**trial.setting, **factors}, trial.repeat)
                   for name, factors in readings)

    @contextmanager
    def trial(self, name: object) -> Iterator[None]:
        """A measuring program's failure is recorded, and the run goes on.

        Unless the cluster was changed by hand: then ClusterError says what, and ends the run.
        """
        try:
            yield
        except (ToolError, KernelError) as error:
            self.check(f"Noticed when a trial failed: {name}: {str(error).splitlines()[0]}.")
            if isinstance(error, KernelError):
                raise
            self.failures.append(f"{name}: {error}")

    def check(self, noticed: str) -> None:
        """Raise ClusterError if a running cluster is no longer as it was set up, or out of reach.

        ``noticed`` is a sentence that says when that came to light.
        """
        if self.real:
            self.real.check(noticed)
        changed_by_hand = [text for net in self._running for text in _changed_by_hand(net)]
        if changed_by_hand:
            raise ClusterError(
                f"the cluster is no longer as it was set up: {'; '.join(changed_by_hand)}."
                f" {noticed} What was measured since that happened is of the changed cluster")

    # --- progress

    def heading(self, title: str, facts: list[tuple[str, str]], seconds: float) -> None:
        """Say what runs, and how long it is expected to take; then a bar runs on a terminal."""
        for warning in self.topology.warnings:
            complain(warning)
        terminal.heading(self.out, title, facts)
        self._bar = self._stack.enter_context(terminal.progress(self.out, seconds))

    def step(self, doing: str, seconds: float) -> None:
        """Add to the work that is done, in expected seconds; the last of it is ``doing``."""
        if self._bar is not None:
            self._bar(doing, seconds)


def _changed_by_hand(net: CalicoNet) -> tuple[str, ...]:
    try:
        return net.changed_by_hand()
    except KernelError as error:
        return (str(error),)


def changed(topology: Topology, *, pod_mtu: int = 0, tunnel_mtu: int = 0, link_mtu: int = 0,
            rate: float = 0, encapsulation: Encapsulation | None = None,
            mode: EncapsulationMode | None = None) -> Topology:
    """The topology with other MTUs of pods, tunnels and links (bytes), or another rate (Mbit/s).

    ``encapsulation`` is that of all pools, and ``mode`` with it theirs. What is 0 or None stays as
    the topology says.
    """
    underlay, felix = topology.underlay, topology.felix
    for item in ENCAPSULATIONS if tunnel_mtu else ():
        felix = item.with_mtu(felix, tunnel_mtu)
    return replace(
        topology, veth_mtu=pod_mtu or topology.veth_mtu,
        pools=topology.pools if encapsulation is None else tuple(
            encapsulation.of_pool(pool, mode or PoolMode.of(pool).mode) for pool in topology.pools),
        felix=felix,
        underlay=replace(underlay, subnets=tuple(
            replace(subnet, mtu=link_mtu or subnet.mtu,
                    link=replace(subnet.link, rate=rate or subnet.link.rate))
            for subnet in underlay.subnets)))

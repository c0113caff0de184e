"""A real cluster as instruments ask for one: pods on chosen nodes, the pool's mode, the wire.

    RealCluster.open()   makes a namespace with its pods, finds their pool, looks for programs
    set_mode, capture    change the pool's mode and wait for its effect; watch a node's uplink
    RealCluster.close()  sets the former mode again, and removes the namespace

What :meth:`RealCluster.close` needs to know is handed to ``record`` before it is needed, so that
a run that was killed can be tidied up by a later one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calico_mn.calico.encapsulation import DEFAULT, Encapsulation, named
from calico_mn.errors import ClusterError
from calico_mn.kubernetes import pools
from calico_mn.kubernetes.client import ApiError, ApiServer
from calico_mn.kubernetes.namespace import RunNamespace, config_map, pod
from calico_mn.kubernetes.placement import Node, Placement, Settings
from calico_mn.kubernetes.pods import RELAY_FAILED, PodHost
from calico_mn.kubernetes.pools import Pool
from calico_mn.kubernetes.tcpdump import TcpdumpCapture
from calico_mn.measure import programs, reachability
from calico_mn.measure.paths import CROSS_SUBNET, SAME_SUBNET, Endpoint, Pair, ordered_pairs
from calico_mn.packetmatch import CaptureFilter
from calico_mn.text import join, one_line

#: seconds that a mode change may take to have an effect
EFFECT_S = 60.0
_PROGRAM_S = 20.0
#: usual seconds: until programs are started by exec, and until a mode change is seen on the wire
_STARTS_S, _SEEN_S = 2.0, 4.0
#: the pool's mode after a change that was interrupted, or whose answer was lost
_UNKNOWN = ""
#: a shell's exit status where a program is not there, or cannot be run
_NO_PROGRAM = (126, 127)


@dataclass
class RealCluster:
    """A cluster with pods of one run; :class:`calico_mn.measure.paths.Net` has what it offers.

    ``run`` is the label of all that is made, ``before`` what an interrupted run has recorded.
    ``versions`` are what the pods' programs say of themselves, ``uplinks`` each watched node's
    device, and ``notes`` sentences on what is not measured and why.
    """

    server: ApiServer
    settings: Settings
    placement: Placement
    run: str
    record: Callable[[Mapping[str, Any]], object] = lambda _: None
    before: Mapping[str, Any] = field(default_factory=dict)
    tunnel: str = "kernel"
    has_python: bool = False
    versions: dict[str, str] = field(default_factory=dict)
    uplinks: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    pool: Pool | None = None
    encapsulation: Encapsulation = DEFAULT
    mode: str = ""
    _former: str | None = None
    _hosts: dict[str, PodHost] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.namespace = RunNamespace(
            self.server, self.settings.namespace or f"calico-mn-{self.run}", self.run)
        self.notes += self.placement.notes

    def __getitem__(self, name: str) -> PodHost:
        return self._hosts[name]

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The pods between which is measured, the client first."""
        return tuple(Endpoint(host.name, host.ip, node.name, node.subnet)
                     for pod, node in self.placement.pods.items()
                     for host in [self[f"{self.namespace.name}/{pod}"]])

    @property
    def own_mode(self) -> str:
        """The pool's own mode, which :meth:`close` sets again."""
        return self._former or self.mode

    @property
    def trial_s(self) -> float:
        """About how many seconds a trial takes besides its readings."""
        if not self.settings.allow_mode_change:
            return _STARTS_S
        return _STARTS_S + (_SEEN_S if self.settings.allow_host_capture else self.settings.settle)

    # --- begin and end

    def open(self) -> None:
        """Make the pods, and wait until they run. Raises ClusterError and ApiError.

        What was made until then is removed by :meth:`close`.
        """
        self._take_over()
        on_host = self.settings.allow_host_capture
        self.namespace.make(host_pods=on_host, again=bool(self.before))
        self._remember()
        code = Path(programs.__file__).with_name(programs.ENDPOINT).read_text(encoding="utf-8")
        self.namespace.add("configmaps", config_map(
            self.namespace.name, self.run, {programs.ENDPOINT: code}))
        captures = {f"capture-{number}": node for number, node in enumerate(
            self.placement.nodes, 1)} if on_host else {}
        nodes = {**self.placement.pods, **captures}
        for name, node in nodes.items():
            self.namespace.add("pods", pod(
                name, self.namespace.name, self.run, host_name=node.host_name,
                image=self.settings.image, on_host=name in captures))
        for name, ip in self.namespace.addresses(nodes, self.settings.image).items():
            host = PodHost(f"{self.namespace.name}/{name}", ip, nodes[name].name, self.server)
            self._hosts[host.node if name in captures else host.name] = host
        self._find_pool()
        self._find_programs()
        if on_host:
            self.uplinks.update({node.name: self._uplink(node) for node in self.placement.nodes})

    def check(self, noticed: str) -> None:
        """Raise ClusterError if the API server does not answer any more, or a pod has ended."""
        names = [host.name.rpartition("/")[2] for host in self._hosts.values()]
        try:
            ended = [f"{name} ({state.why})" for name, state in self.namespace.progress(
                names).items() if not state.address]
        except ApiError as error:
            raise ClusterError(f"{error}. {noticed}") from None
        if ended:
            raise ClusterError(f"pods in {self.namespace.name} do not run any more:"
                               f" {one_line(join(ended))}. {noticed}")

    def close(self) -> None:
        """Set the former mode again, and remove the namespace. Raises ApiError and ClusterError."""
        with ExitStack() as stack:
            stack.callback(self.namespace.remove)  # also where the mode cannot be set
            if self._is_changed:
                assert self.pool is not None
                pools.set_mode(self.server, self.pool, self.encapsulation, self.own_mode)
                self.mode = self.own_mode
            if self._former is not None:
                self._former = None
                self._remember()

    def left(self) -> tuple[str, ...]:
        """The commands that undo what :meth:`close` has not undone."""
        commands = []
        if self._is_changed:
            commands.append(self.restoring)
        if self.namespace.is_left:
            commands.append(f"kubectl --context {self.server.context} delete namespace"
                            f" {self.namespace.name}")
        return tuple(map(one_line, commands))

    @property
    def restoring(self) -> str:
        """The command that sets the pool's own mode by hand."""
        assert self.pool is not None
        return pools.command(self.server.context, self.pool, self.encapsulation, self.own_mode)

    @property
    def _is_changed(self) -> bool:
        return self.pool is not None and self.mode != self.own_mode

    def _remember(self) -> None:
        self.record({
            "context": self.server.context, "namespace": self.namespace.name, "run": self.run,
            "nodes": {pod: node.name for pod, node in self.placement.pods.items()},
            "pool": self.pool and self.pool.name, "encapsulation": str(self.encapsulation),
            "former_mode": self._former})

    def _take_over(self) -> None:
        """Know of the mode that an interrupted run has left in its pool."""
        if self.before.get("former_mode"):
            name = str(self.before["pool"])
            self.pool = next((p for p in pools.read(self.server) if p.name == name), None)
            if self.pool is None:
                raise ClusterError(f"the interrupted run had changed the pool {one_line(name)},"
                                   " which the cluster no longer has")
            self.pool = pools.changeable(self.server, self.pool)
            self.encapsulation = named(str(self.before["encapsulation"]))
            self.mode, self._former = self.pool.mode, str(self.before["former_mode"])

    # --- what the pods show

    def _find_pool(self) -> None:
        pool = pools.pool_of(pools.read(self.server), [end.ip for end in self.endpoints])
        if self._former is None:
            if self.settings.allow_mode_change:
                pool = pools.changeable(self.server, pool)
            self.pool, self.encapsulation, self.mode = pool, pool.encapsulation, pool.mode
        elif self.pool is None or pool.name != self.pool.name:
            raise ClusterError(f"the pods' addresses are now from the pool {one_line(pool.name)},"
                               " and the interrupted run had changed another")
        self._remember()

    def _find_programs(self) -> None:
        client, image = self[self.endpoints[0].name], one_line(self.settings.image)
        needed = [(client, ["iperf3", "--version"]), (client, ["ping", "-V"])]
        if self.settings.allow_host_capture:
            needed.append((self[self.placement.nodes[0].name], ["tcpdump", "--version"]))
        else:
            self.notes.append("Whether packets were encapsulated was not looked at:"
                              " --allow-host-capture watches the nodes' uplinks.")
        for host, argv in needed:
            line = self._version(host, argv)
            if line is None:
                raise ClusterError(f"the image {image} has no {argv[0]}: name one that has"
                                   f" {join([each[0] for _, each in needed])} with --image")
            self.versions[argv[0]] = line
        self.has_python = self._version(client, ["python3", "--version"]) is not None

    def _version(self, host: PodHost, argv: list[str]) -> str | None:
        """The first line of what a program says of itself; None where there is none."""
        done = programs.run(host, argv, _PROGRAM_S)
        if done.status == RELAY_FAILED:
            raise ClusterError(f"{host.name}: {' '.join(argv)}: {programs.excerpt(done.err)}")
        lines = (done.out or done.err).strip().splitlines()
        return None if done.status in _NO_PROGRAM else one_line(lines[0] if lines else "")

    def _uplink(self, node: Node) -> str:
        """The device that has the node's address."""
        host = self[node.name]
        done = programs.run(host, ["ip", "-json", "-4", "address"], _PROGRAM_S)
        with suppress(ValueError, LookupError, TypeError):
            for device in json.loads(done.out):
                if any(each["local"] == str(node.address.ip) for each in device["addr_info"]):
                    return str(device["ifname"])
        raise ClusterError(f"{node.name}: no device with the node's address {node.address.ip} is"
                           f" seen in the pod {host.name}: {programs.excerpt(done.err)}")

    # --- modes and the wire

    def set_pod_routes(self, enabled: bool) -> None:
        """A real cluster's routers are not ours."""
        raise ClusterError("the routers between real nodes are not changed")

    def set_mode(self, mode: str, *, encapsulation: Encapsulation | None = None) -> None:
        """Change the pool's mode, and wait until packets travel so.

        Raises ApiError, and ClusterError where they do not after a minute.
        """
        if mode == self.mode:
            return
        assert self.pool is not None and self.settings.allow_mode_change
        if self._former is None:
            self._former = self.mode
            self._remember()
        before, self.mode = self.mode, _UNKNOWN  # if interrupted, or if the answer is lost
        try:
            pools.set_mode(self.server, self.pool, self.encapsulation, mode)
        except ApiError as error:
            self.mode = before if error.status else _UNKNOWN
            raise
        self.mode = mode
        if self.settings.allow_host_capture:
            self._wait_for_effect(mode)
        else:
            time.sleep(self.settings.settle)
        self._check_pool(mode)

    def _check_pool(self, mode: str) -> None:
        """Raise ClusterError where the pool has another mode again."""
        assert self.pool is not None
        if not pools.has_mode(self.server, self.pool, self.encapsulation, mode):
            raise ClusterError(f"the pool {one_line(self.pool.name)} has not kept the mode {mode}:"
                               " another program manages it and sets its own, such as an operator"
                               " or a GitOps controller")

    def _wait_for_effect(self, mode: str) -> None:
        """Until echo requests between all nodes are seen as the mode has it, answered or not."""
        inside = {SAME_SUBNET: mode == "Always", CROSS_SUBNET: mode != pools.NEVER}
        ends = {end.node: end for end in reversed(self.endpoints)}  # the client stands for its node
        deadline = time.monotonic() + EFFECT_S
        late: dict[Pair, bool | None] = dict.fromkeys(ordered_pairs(tuple(ends.values())))
        while late and time.monotonic() < deadline:
            late = {reached.pair: reached.encapsulated
                    for reached in reachability.matrix(self, tuple(late))
                    if reached.encapsulated is not inside[reached.pair.path]}
        wrong = [pair for pair, seen in late.items() if seen is not None]
        if wrong:
            self._check_pool(mode)
            raise ClusterError(
                f"{mode}: packets from {wrong[0]} still do not travel as that mode has it,"
                f" {EFFECT_S:g} s after the pool was changed: does calico-node run there?")

    def capture(self, node: str, device: str, wanted: CaptureFilter) -> TcpdumpCapture | None:
        """Watch a node's uplink, which ``device`` stands for; None without the permission."""
        if not self.settings.allow_host_capture:
            return None
        return TcpdumpCapture(self[node], self.uplinks[node], wanted)

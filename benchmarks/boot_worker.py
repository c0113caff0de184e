"""One boot and one stop in a process of its own: ``boot_worker.py ours|plain SIZE PARENT``.

:mod:`boot` starts this; a process per run keeps memory figures apart, and gives plain Mininet
a throw-away namespace in the place of the machine's own. Prints one line of JSON.
"""

from __future__ import annotations

import gc
import json
import signal
import sys
import time

import machine
from clusters import Size, ping_pairs, topology

from calico_mn.errors import CalicoMnError
from calico_mn.measure import resources
from calico_mn.model import EncapsulationMode

_PING = ["ping", "-c1", "-W2"]


def main(subject: str, size: Size) -> int:
    """Run ``subject`` once."""
    report = ours(size) if subject == "ours" else plain(size)
    print(json.dumps(report))
    return 0


def ours(size: Size) -> dict[str, object]:
    """Our boot, from a Topology to attached Mininet nodes, and our stop.

    A cluster of one pod goes before: what happens once a process (imports, the look at what
    this kernel can do) is reported as ``first_ms``.
    """
    from calico_mn.emulation.net import CalicoNet

    baseline = resources.namespace_count()
    start = time.perf_counter()
    with CalicoNet(topology(Size(1, 1)), policies=False) as net:
        first = time.perf_counter() - start
        tunnel = net.tunnel
    resources.settle(baseline)
    wanted = topology(size)
    gc.collect()
    kb, resident = resources.available_kb(), resources.resident_kb()
    cpu, start = time.process_time(), time.perf_counter()
    net = CalicoNet(wanted, policies=False)
    try:
        net.start()
        booted, cpu = time.perf_counter(), time.process_time() - cpu
        kb, resident = kb - resources.available_kb(), resources.resident_kb() - resident
        for source, target in ping_pairs(size, cross_subnet=True):
            with net.get(source).popen([*_PING, net.get(target).ip]) as process:
                output = process.communicate()[0].decode()
            _expect(process.returncode == 0, source, target, output)
        stopping = time.perf_counter()
    finally:
        net.stop()
    return {**_sample(start, booted, stopping, kb, resident),
            "boot_cpu_ms": cpu * 1e3, "first_ms": first * 1e3, "tunnel": tunnel}


def plain(size: Size) -> dict[str, object]:
    """Plain Mininet's boot of a cluster that is worked out already, and its stop."""
    machine.own_network()
    import plain_mininet

    plain_mininet.raise_own_limits()
    hosts, pods = plain_mininet.plan(topology(size, EncapsulationMode.NEVER))
    addresses = {pod.name: pod.addresses[0].address.partition("/")[0] for pod in pods}
    gc.collect()
    kb, resident = resources.available_kb(), resources.resident_kb()
    start = time.perf_counter()
    net = plain_mininet.boot(hosts, pods)
    try:
        booted = time.perf_counter()
        kb, resident = kb - resources.available_kb(), resources.resident_kb() - resident
        for source, target in ping_pairs(size, cross_subnet=False):
            output = net[source].cmd(*_PING, addresses[target])
            _expect(" 0% packet loss" in output, source, target, output)
        stopping = time.perf_counter()
    finally:
        net.stop()
    return _sample(start, booted, stopping, kb, resident)


def _sample(start: float, booted: float, stopping: float, kb: int, resident: int
            ) -> dict[str, object]:
    return {"boot_ms": (booted - start) * 1e3, "stop_ms": (time.perf_counter() - stopping) * 1e3,
            "machine_kb": kb, "process_kb": resident}


def _expect(answered: bool, source: str, target: str, output: str) -> None:
    if not answered:
        raise RuntimeError(f"no answer from {target} to {source}: {output.strip()}")


if __name__ == "__main__":
    machine.interrupt_by(signal.SIGINT, signal.SIGTERM)
    try:
        machine.end_with_parent(int(sys.argv[3]))
        sys.exit(main(sys.argv[1], Size.parse(sys.argv[2])))
    except KeyboardInterrupt:
        sys.exit(130)
    except (CalicoMnError, RuntimeError, OSError) as error:
        sys.exit(f"boot_worker.py {' '.join(sys.argv[1:3])}: {error}")

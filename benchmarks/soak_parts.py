"""The three parts of soak.py; each returns its figures, and a line for each thing that is wrong."""

from __future__ import annotations

import gc
import glob
import os
import random
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from clusters import Size, topology
from rich.console import Console

from calico_mn import CalicoNet
from calico_mn.kernel import cleanup, runtime_dir
from calico_mn.measure import resources
from calico_mn.model import EncapsulationMode

_WORKER = str(Path(__file__).resolve().parent / "soak_worker.py")
_PHASES = ("boot", "run", "trial", "change", "stop")
# The clean-up is killed, too, once in so many times, after at most so many seconds.
_CLEANERS = 3
_CLEANER_S = 0.4
_SIZE = Size(3, 2)
_MODES = tuple(EncapsulationMode)
# What the allocators of Python and C keep for later is not growth: so much is let pass.
_RESIDENT_KB_LET_PASS = 4096


def own_run() -> None:
    """A /run of our own, in the mounts that are ours already."""
    subprocess.run(["mount", "-t", "tmpfs", "none", "/run"], check=True, timeout=10)


# --- kill

def kills(count: int, seed: int, out: Console) -> tuple[object, list[str]]:
    """``count`` kills at random moments, each cleaned up after."""
    chance = random.Random(seed)
    lengths = _lengths()
    killed: Counter[str] = Counter()
    before: Counter[str] = Counter()
    wrong: list[str] = []
    machine = _machine()
    cleaners = 0
    for number in range(count):
        phase = _PHASES[number % len(_PHASES)]
        _kill(phase, chance.uniform(0, lengths[phase]))
        killed[phase] += 1
        left = _left()
        before.update(kind for kind, _what in left)
        if number % _CLEANERS == 0:
            _kill_a_cleaner(chance.uniform(0, _CLEANER_S))
            cleaners += 1
        if number // len(_PHASES) % 2:
            cleanup.remove_all()
        else:
            with CalicoNet(topology(Size(1, 1))):
                pass
        wrong += [f"after a kill during {phase}: {kind} {what}" for kind, what in _left()]
        if _machine() != machine:
            wrong.append(f"after a kill during {phase}: the machine's own network has changed")
            machine = _machine()
    out.print(f"kill: {count} moments ({', '.join(f'{p} {killed[p]}' for p in _PHASES)}),"
              f" after {cleaners} of them the first one to clean up, too;"
              f" before the clean-up {before['program']} programs and {before['directory']}"
              f" directories were there, after it {len(wrong)}")
    return {"killed": dict(killed), "cleaners_killed": cleaners,
            "left_before_clean_up": dict(before),
            "left_after_clean_up": len(wrong), "seconds_of_phases": lengths}, wrong


def _worker(phase: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, _WORKER, str(_SIZE), phase], text=True, bufsize=1,
                            stdout=subprocess.PIPE, start_new_session=True)


def _lengths() -> dict[str, float]:
    """How long each phase takes without interference, in seconds."""
    moments = {}
    with _worker("trial") as process:
        assert process.stdout
        for line in process.stdout:
            moments[line.strip()] = time.monotonic()
    marks = [*_PHASES, "end"]
    return {phase: moments[marks[place + 1]] - moments[phase]
            for place, phase in enumerate(_PHASES)}


def _kill(phase: str, delay: float) -> None:
    with _worker(phase) as process:
        assert process.stdout
        for line in process.stdout:
            if line.strip() == phase:
                break
        time.sleep(delay)
        process.kill()


def _kill_a_cleaner(delay: float) -> None:
    """Begin to clean up, and die of it."""
    with subprocess.Popen([sys.executable, "-m", "calico_mn", "cleanup"],
                          stdout=subprocess.DEVNULL) as process:
        time.sleep(delay)
        process.kill()


def _left() -> list[tuple[str, str]]:
    """All that is there besides us: programs, namespaces, directories, pinned programs."""
    remains = []
    namespaces = {os.stat("/proc/self/ns/net").st_ino}
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        with suppress(OSError):
            state, parent = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[:2]
            if state in "ZX":
                if int(parent) == os.getpid():
                    os.waitpid(int(entry), os.WNOHANG)
                continue
            # One that is being ended by the kernel has given up its namespaces: not there.
            network = os.stat(f"/proc/{entry}/ns/net").st_ino
            remains.append(("program", Path(f"/proc/{entry}/comm").read_text().strip()))
            if network not in namespaces:
                namespaces.add(network)
                remains.append(("namespace", str(network)))
    if runtime_dir.MACHINE.exists():
        remains += [("directory", name) for name in os.listdir(runtime_dir.MACHINE)]
    if os.path.isdir("/sys/fs/bpf"):
        remains += [("pinned program", name) for name in os.listdir("/sys/fs/bpf")
                  if "calico" in name]
    return remains


def _machine() -> tuple[str, ...]:
    """Links, addresses, routes, rules of the machine's own network, and our mounts."""
    said = [subprocess.run(["ip", *command.split()], capture_output=True, text=True, timeout=10,
                           check=True).stdout
            for command in ("-o link", "-4 -o address", "-4 route show table all", "rule")]
    return (*said, Path("/proc/self/mounts").read_text())


# --- neighbours

def neighbours(count: int, seed: int, out: Console) -> tuple[object, list[str]]:
    """``count`` clusters at once; every one is looked at after each thing done to another."""
    chance = random.Random(seed)
    wrong: list[str] = []
    looks = 0
    machine = _machine()
    live: list[tuple[int, Size, CalicoNet, EncapsulationMode]] = []
    waiting = [(number, Size(2 + number % 3, 1 + number % 2)) for number in range(count)]
    changes = 2 * count
    try:
        while waiting or live:
            deed = chance.choice([*(["start"] if waiting else []), *(
                ["change"] * 2 if live and changes else []), *(
                ["stop"] if live and not waiting and not changes else [])] or ["start"])
            if deed == "start":
                number, size = waiting.pop(chance.randrange(len(waiting)))
                net = CalicoNet(topology(size))
                net.start()
                live.append((number, size, net, EncapsulationMode.ALWAYS))
            elif deed == "change":
                changes -= 1
                index = chance.randrange(len(live))
                number, size, net, _ = live[index]
                mode = chance.choice(_MODES)
                net.set_ipip_mode(mode)
                live[index] = (number, size, net, mode)
            else:
                live.pop(chance.randrange(len(live)))[2].stop()
            for number, _, net, mode in live:
                looks += 1
                wrong += [f"cluster {number}, {mode}, after a {deed}: {what}"
                          for what in _look(net, mode)]
            if _machine() != machine:
                wrong.append(f"after a {deed}: the machine's own network has changed")
                machine = _machine()
    finally:
        for _, _, net, _ in live:
            net.stop()
    left = _left()
    wrong += [f"after all stopped: {kind} {what}" for kind, what in left]
    out.print(f"neighbours: {count} clusters, started, changed {2 * count} times and stopped in"
              f" random order; {looks} looks, {len(wrong)} wrong")
    return {"clusters": count, "changes": 2 * count, "looks": looks}, wrong


def _look(net: CalicoNet, mode: EncapsulationMode) -> list[str]:
    """What is not as the mode has it between the first pod and the others, rack by rack."""
    wrong = []
    first = net.pods[0]
    racks = {node.name: node.address.split(".")[2] for node in net.nodes}
    for other in net.pods[1:]:
        expected = mode is not EncapsulationMode.NEVER or racks[other.node] == racks[first.node]
        status = first.pexec(["ping", "-c", "1", "-W", "2" if expected else "0.1", other.ip])[2]
        if (status == 0) is not expected:
            wrong.append(f"{other.name} {'does not answer' if expected else 'answers'}")
    return wrong


# --- long use

def long_use(boots: int, changes: int, seed: int, out: Console) -> tuple[object, list[str]]:
    """``boots`` boots and stops; then ``changes`` changes of one cluster."""
    chance = random.Random(seed)
    _boot()  # what stays after a first boot: imports, the look at what the kernel can do
    half = max(1, boots // 2)
    start = _held()
    for _ in range(half):
        _boot()
    middle = _held()
    for _ in range(boots - half):
        _boot()
    booted = _held()
    with CalicoNet(topology(_SIZE)) as net:
        _changes(net, min(60, changes), chance)
        routes, warm = _kernel_routes(net), _held()
        _changes(net, changes, chance)
        changed, same = _held(), routes == _kernel_routes(net)
    end = _held()
    wrong = [*_grown("boots", middle, booted), *_grown("changes", warm, changed),
             *(f"after all: {kind} {what}" for kind, what in _left())]
    if not same:
        wrong.append("changes: the kernel's routes are not what they were before them")
    for what, first, last, times in (("boots and stops", start, booted, boots),
                                     ("changes", warm, changed, changes)):
        out.print(f"long: {times} {what}")
        for name in first:
            out.print(f"  {name:<22}{first[name]:>9,} -> {last[name]:>9,}")
    out.print(f"long: the kernel's {sum(routes.values())} routes are"
              f" {'the same' if same else 'not the same'} after the changes")
    return {"boots": boots, "changes": changes, "before_boots": start, "half_way": middle,
            "after_boots": booted, "before_changes": warm, "after_changes": changed,
            "end": end, "routes": sum(routes.values())}, wrong


def _boot() -> None:
    with CalicoNet(topology(_SIZE)) as net:
        net.nodes[0].cmd("true")
        net.set_ipip_mode("Never")


def _changes(net: CalicoNet, count: int, chance: random.Random) -> None:
    """So many changes of mode, and pods that come and go; at last as in the beginning."""
    late: list[str] = []
    for number in range(count):
        deed = chance.choice(("mode", "add", "delete"))
        if deed == "mode" or (deed == "delete" and not late):
            net.set_ipip_mode(chance.choice(_MODES))
        elif deed == "add" and len(late) < 20:
            pod = net.add_pod(name=f"late{number}", node=chance.choice(net.nodes).name)
            pod.cmd("true")  # its shell, which must end with it
            late.append(pod.name)
        elif late:
            net.delete_pod(late.pop(chance.randrange(len(late))))
    for name in late:
        net.delete_pod(name)
    net.set_ipip_mode("Always")


def _kernel_routes(net: CalicoNet) -> dict[str, int]:
    return {node.name: len(net.kernel_routes(node.name)) for node in net.nodes}


def _held() -> dict[str, int]:
    """What this process and the kernel hold now."""
    gc.collect()
    resources.settle(resources.namespace_count() or 0)
    return {"descriptors": len(os.listdir("/proc/self/fd")),
            "resident kB": resources.resident_kb(), "threads": len(os.listdir("/proc/self/task")),
            "namespaces": len(_namespaces_held()),
            "namespaces (machine)": resources.namespace_count() or 0,
            "slab kB (machine)": resources.unreclaimable_slab_kb()}


def _namespaces_held() -> set[str]:
    """Network namespaces that a thread here is in, or that a descriptor or a mount here keeps."""
    held = set()
    for link in (*glob.glob("/proc/[0-9]*/task/*/ns/net"), *glob.glob("/proc/[0-9]*/fd/*")):
        with suppress(OSError):  # it has ended meanwhile
            name = os.readlink(link)
            if name.startswith("net:"):
                held.add(name)
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    return held | {word for word in mounts.split() if word.startswith("net:[")}


def _grown(what: str, before: dict[str, int], after: dict[str, int]) -> list[str]:
    """The machine's own counts are shown and not judged: others live there too."""
    allowed = {"descriptors": 0, "threads": 0, "namespaces": 0,
               "resident kB": _RESIDENT_KB_LET_PASS}
    return [f"{what}: {name} grew from {before[name]} to {after[name]}"
            for name, least in allowed.items() if after[name] > before[name] + least]

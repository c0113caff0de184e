#!/usr/bin/env python3
"""How long clusters take to boot and to stop, and how much memory they need.

    sudo .venv/bin/python benchmarks/boot.py [--sizes 4x10,20x50,20x100] [--repeats 3]
        [--plain-up-to 1000] [--quick] [--json FILE]

Three ways of making the same cluster of N nodes with M pods each, interleaved in one run:

ours    CalicoNet, from the Topology object to attached Mininet nodes, with tunl0, and without
        Felix's rules, which the others do not have either (policies.py is about them);
plain   plain Mininet, a bash per node and a cmd() per setting, without tunl0 (plain_mininet.py);
bound   the least that the kernel needs: a C program on raw rtnetlink, without tunl0 (bound.c).

Each run is a process of its own, and pings between a few pods prove that its cluster works.
A boot right after a stop is up to twice as slow, because the kernel still takes the old
namespaces apart under locks that the new ones need: so we wait before each run until the kernel's
count of namespaces is back (resources.settle). Ratios are formed within one repeat; figures are
medians, with the smallest and largest value behind them. Memory is the fall of the machine's
MemAvailable, which everything else on the machine moves as well: it is noisy, and as the kernel
keeps some of what it frees, the largest value is the one to go by.

Nothing is changed in the machine's own network namespace: plain Mininet, which works through its
"root" namespace, gets an empty one in its place. Ctrl-C ends everything that was started.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

try:
    import figures
    import machine
    from clusters import Size
    from rich.console import Console

    from calico_mn.experiment.options import int_between, positive_int
    from calico_mn.measure import resources
except ImportError as error:
    sys.exit(f"{error}; run ./install.sh, then: sudo .venv/bin/python benchmarks/boot.py")

HERE = Path(__file__).resolve().parent
MARK = "CALICO_MN_BENCHMARK"
SUBJECTS = ("ours", "bound", "plain")
#: What the kernel still holds of the previous run favours or hurts the next: so they take turns.
ORDERS = (SUBJECTS, ("bound", "ours", "plain"))
FLATNESS = 0.30
_GRACE_S = 60.0
# A run that takes longer than this hangs: plain Mininet needs about 60 ms a pod.
_TIMEOUT_S, _TIMEOUT_S_PER_POD = 60.0, 0.6


@dataclass(frozen=True)
class Sample:
    """One boot and stop. Memory in kB: of the whole machine, and of the process in it.

    ``boot_cpu_ms`` is the processor time of the booting process, in user and kernel mode; plain
    Mininet's is spread over its shells, and not taken.
    """

    subject: str
    size: str
    pods: int
    repeat: int
    boot_ms: float
    stop_ms: float
    machine_kb: int
    process_kb: int
    boot_cpu_ms: float | None = None
    first_ms: float | None = None
    tunnel: str | None = None

    @property
    def total_ms(self) -> float:
        """Boot and stop."""
        return self.boot_ms + self.stop_ms


class RunError(Exception):
    """A run ended with an error; the text says which and why."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    options = _options(argv)
    if os.geteuid() != 0:
        sys.exit("boot.py: making network namespaces needs root: run this with sudo")
    machine.interrupt_by(signal.SIGTERM)
    out = figures.console()
    about = figures.environment()
    out.print(figures.heading("boot", about))
    samples: list[Sample] = []
    status = 0
    with tempfile.TemporaryDirectory(prefix="calico-mn-bound-") as directory:
        bound, skipped = compile_bound(Path(directory))
        no_plain = why_no_plain()
        if no_plain:
            skipped["plain"] = no_plain
        for name, reason in skipped.items():
            out.print(f"{name} is skipped: {reason}")
        try:
            measure(out, options, bound, not no_plain, samples)
        except KeyboardInterrupt:
            out.print("interrupted: what follows was measured until then")
            status = 130
        except RunError as error:
            out.print(f"boot.py: {error}", style="red", markup=False)
            status = 1
        finally:
            machine.kill_marked(MARK, str(os.getpid()))
    report = evaluate(samples)
    show(out, options.sizes, samples, report)
    if options.json:
        figures.write_json(options.json, {
            "environment": about, "skipped": skipped,
            "samples": [asdict(sample) for sample in samples], "summary": report})
    return status


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = figures.Parser(
        __doc__, epilog="See docs/benchmarks.md for what the figures mean.")
    parser.add_argument("--sizes", type=_sizes, default=_sizes("4x10,20x50,20x100"),
                        help="NODESxPODS, separated by commas (4x10,20x50,20x100)")
    parser.add_argument("--repeats", type=positive_int, default=3, help="runs of each (3)")
    parser.add_argument("--plain-up-to", type=int_between(0, 1_000_000), default=1000,
                        metavar="PODS",
                        help="plain Mininet only for clusters of up to so many pods (1000;"
                             " a run takes about 60 ms a pod)")
    parser.add_argument("--quick", action="store_true",
                        help="one run of each, plain Mininet for up to 100 pods")
    options = parser.parse_args(argv)
    if options.quick:
        options.repeats, options.plain_up_to = 1, min(100, options.plain_up_to)
    return options


def _sizes(text: str) -> list[Size]:
    try:
        return [Size.parse(word) for word in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


# ---------------------------------------------------------------- what can be measured here


def compile_bound(directory: Path) -> tuple[Path | None, dict[str, str]]:
    """The compiled C program, or the reason why there is none."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None, {"bound": "there is no C compiler (cc); install gcc and libc6-dev"}
    program = directory / "bound"
    done = subprocess.run(
        [compiler, "-O2", "-o", str(program), str(HERE / "bound.c")],
        capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        reason = said[0] if said else f"cc ended with {done.returncode}"
        return None, {"bound": f"bound.c does not compile: {reason}"}
    return program, {}


def why_no_plain() -> str | None:
    """What plain Mininet misses on this machine; None when it has all."""
    packages = {"mnexec": "mininet", "ifconfig": "net-tools", "bash": "bash", "sysctl": "procps"}
    missing = [program for program in packages if shutil.which(program) is None]
    if not missing:
        return None
    wanted = " ".join(packages[program] for program in missing)
    return (f"plain Mininet needs {', '.join(missing)}: sudo apt-get install"
            f" --no-install-recommends {wanted}")


# ---------------------------------------------------------------- measuring


def measure(out: Console, options: argparse.Namespace, bound: Path | None, plain: bool,
            samples: list[Sample]) -> None:
    """All runs, interleaved; each sample is in ``samples`` at once."""
    baseline = resources.namespace_count()
    for repeat in range(options.repeats):
        for size in options.sizes:
            for subject in ORDERS[repeat % len(ORDERS)]:
                if subject == "bound" and bound is None:
                    continue
                if subject == "plain" and not (plain and size.all_pods <= options.plain_up_to):
                    continue
                if not resources.settle(baseline):
                    out.print("  (the machine did not come to rest within 30 s)")
                sample = run(subject, size, repeat, bound)
                samples.append(sample)
                out.print(f"  {repeat + 1}/{options.repeats} {sample.size:>7} {subject:<5}"
                          f" boot {sample.boot_ms:9.1f} ms, stop {sample.stop_ms:8.1f} ms")


def run(subject: str, size: Size, repeat: int, bound: Path | None) -> Sample:
    """One run in a process of its own, which ends with this one."""
    if subject == "bound":
        command = [str(bound), str(size.nodes), str(size.pods)]
    else:
        command = [sys.executable, str(HERE / "boot_worker.py"), subject, str(size),
                   str(os.getpid())]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True, env={**os.environ, MARK: str(os.getpid())})
    timeout = _TIMEOUT_S + _TIMEOUT_S_PER_POD * size.all_pods
    try:
        output, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise RunError(f"{subject} {size}: not done after {timeout:.0f} s") from None
    finally:
        end(process)
    if process.returncode:
        said = errors.strip() or f"ended with {process.returncode}"
        raise RunError(f"{subject} {size}: {said}")
    return Sample(subject, str(size), size.all_pods, repeat, **json.loads(output))


def end(process: subprocess.Popen[str]) -> None:
    """Let a run clean up after itself; kill it if it does not."""
    if process.poll() is not None:
        return
    # Another Ctrl-C must not cut the cleaning up short.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
    finally:
        signal.signal(signal.SIGINT, before)


# ---------------------------------------------------------------- results


def evaluate(samples: Sequence[Sample]) -> dict[str, object]:
    """Per size the figures and ratios, and how flat our boot is over the sizes."""
    sizes: dict[str, object] = {}
    flat = []
    for size in dict.fromkeys(sample.size for sample in samples):
        of_size = [sample for sample in samples if sample.size == size]
        entry: dict[str, object] = {"pods": of_size[0].pods}
        for subject in SUBJECTS:
            runs = [sample for sample in of_size if sample.subject == subject]
            if runs:
                entry[subject] = {
                    "boot_ms_per_pod": figures.summary([s.boot_ms / s.pods for s in runs]),
                    "boot_cpu_ms_per_pod": figures.summary(cpu_per_pod(runs)),
                    "stop_ms_per_pod": figures.summary([s.stop_ms / s.pods for s in runs]),
                    "pods_per_s": figures.summary([s.pods / s.boot_ms * 1e3 for s in runs]),
                    "machine_kb_per_pod": figures.summary([s.machine_kb / s.pods for s in runs]),
                    "process_kb_per_pod": figures.summary([s.process_kb / s.pods for s in runs]),
                }
        entry["plain_over_ours_with_stop"] = figures.summary(ratios(of_size, "plain", "ours"))
        entry["ours_over_bound_boot"] = figures.summary(
            ratios(of_size, "ours", "bound", stop=False))
        entry["ours_over_bound_boot_cpu"] = cpu_ratio(of_size)
        sizes[size] = entry
        boots = [s.boot_ms / s.pods for s in of_size if s.subject == "ours"]
        if boots:
            flat.append(median(boots))
    deviation = (max(flat) - min(flat)) / (max(flat) + min(flat)) if len(flat) > 1 else None
    return {"sizes": sizes, "flatness": deviation,
            "once_per_process_ms": figures.summary(
                [s.first_ms for s in samples if s.first_ms is not None])}


def ratios(samples: Sequence[Sample], over: str, under: str, *, stop: bool = True) -> list[float]:
    """``over`` / ``under``, one for each repeat that has both."""
    quotients = []
    for repeat in dict.fromkeys(sample.repeat for sample in samples):
        pair = {s.subject: s.total_ms if stop else s.boot_ms
                for s in samples if s.repeat == repeat}
        if over in pair and under in pair:
            quotients.append(pair[over] / pair[under])
    return quotients


def cpu_per_pod(samples: Sequence[Sample]) -> list[float]:
    """Processor time a pod in ms, of the runs that know it."""
    return [s.boot_cpu_ms / s.pods for s in samples if s.boot_cpu_ms is not None]


def cpu_ratio(samples: Sequence[Sample]) -> float | None:
    """Our processor time / the bound's, of the medians: steadier than times on a busy machine."""
    ours, bound = (cpu_per_pod([s for s in samples if s.subject == subject])
                   for subject in ("ours", "bound"))
    return median(ours) / median(bound) if ours and bound else None


def show(out: Console, sizes: Sequence[Size], samples: Sequence[Sample],
         report: dict[str, object]) -> None:
    """The tables."""
    if not samples:
        return
    times, memory, relations = [], [], []
    for size in map(str, sizes):
        for subject in SUBJECTS:
            runs = [s for s in samples if s.size == size and s.subject == subject]
            if not runs:
                continue
            times.append((f"{size} {subject}", figures.spread([s.boot_ms / s.pods for s in runs]),
                          figures.spread(cpu_per_pod(runs)),
                          figures.spread([s.stop_ms / s.pods for s in runs]),
                          figures.spread([s.pods / s.boot_ms * 1e3 for s in runs], 0)))
            memory.append((f"{size} {subject}",
                           figures.spread([s.machine_kb / s.pods for s in runs], 0),
                           figures.spread([s.process_kb / s.pods for s in runs], 1)))
        of_size = [s for s in samples if s.size == size]
        cpu = cpu_ratio(of_size)
        relations.append((size, figures.spread(ratios(of_size, "plain", "ours"), 1),
                          figures.spread(ratios(of_size, "ours", "bound", stop=False)),
                          f"{cpu:.2f}" if cpu else "-"))
    out.print(figures.table("Time: median (smallest-largest)",
                            ("cluster", "boot, ms a pod", "of it CPU", "stop, ms a pod",
                             "pods booted a s"), times))
    out.print(figures.table("Memory (noisy)", ("cluster", "kB a pod, machine", "of it our process"),
                            memory))
    out.print(figures.table("Ratios", ("cluster", "plain/ours with stop", "ours/bound, boot",
                             "CPU"),
                            relations))
    flatness = report["flatness"]
    if isinstance(flatness, float):
        verdict = "flat" if flatness <= FLATNESS else "NOT flat"
        out.print(f"ours over the sizes: {verdict}, +-{flatness:.0%} in ms a pod"
                  f" (at most +-{FLATNESS:.0%})")
    tunnels = {s.tunnel for s in samples if s.tunnel}
    first = [s.first_ms for s in samples if s.first_ms is not None]
    if first:
        out.print(f"tunnel back end: {', '.join(sorted(tunnels))}; the first cluster of a process,"
                  f" one pod, boots in {figures.spread(first, 1)} ms")


if __name__ == "__main__":
    sys.exit(main())

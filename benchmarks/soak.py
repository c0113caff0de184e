#!/usr/bin/env python3
"""Whether anything is left or grows: kills at random moments, neighbours, long use.

    sudo .venv/bin/python benchmarks/soak.py [--kills 40] [--clusters 8] [--boots 60]
        [--changes 600] [--seed 1] [--parts kill,neighbours,long] [--json FILE]

kill: a process that keeps a small cluster is killed by SIGKILL at a random moment of boot, run,
trial (iperf3 and ping at work), change or stop, and sometimes the clean-up after it as well;
then a next start, or the clean-up of 'calico-mn cleanup', in turns. Counted is what
was there before and after that. neighbours: clusters of different and of equal topologies are
started, measured by ping, changed and stopped in random order; the pairs that must answer, and no
others, answer. long: boots and stops of one cluster, then changes of mode and pods that come and
go, with what the process and the kernel hold before and after.

All of it runs with processes, /run and mounts of its own, so that everything that is left is seen
and nothing else is counted. The exit status is 1 if anything is left, was disturbed or grew.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

try:
    import figures
    import machine
    import soak_parts
    from rich.console import Console

    from calico_mn.errors import CalicoMnError
    from calico_mn.experiment.options import int_between
except ImportError as error:
    sys.exit(f"{error}; run ./install.sh, then: sudo .venv/bin/python benchmarks/soak.py")

_INSIDE = "CALICO_MN_SOAK_INSIDE"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the parts that are asked for."""
    options = _options(argv)
    if os.geteuid() != 0:
        sys.exit("soak.py: making network namespaces needs root: run this with sudo")
    if _INSIDE not in os.environ:
        return _in_namespaces()
    machine.interrupt_by(signal.SIGTERM)
    soak_parts.own_run()
    out, about = figures.console(), figures.environment()
    out.print(figures.heading(f"soak, seed {options.seed}", about))
    report: dict[str, object] = {"environment": about, "seed": options.seed}
    wrong: list[str] = []
    status = 0
    try:
        for part in options.parts:
            report[part], problems = _run(part, options, out)
            wrong += problems
    except KeyboardInterrupt:
        out.print("interrupted")
        status = 130
    except CalicoMnError as error:
        out.print(f"soak.py: {error}", style="red", markup=False)
        return 1
    for line in wrong:
        out.print(f"wrong: {line}", style="red", markup=False)
    out.print("nothing was left, disturbed or grew" if not wrong and not status else
              f"{len(wrong)} things are wrong")
    if options.json:
        figures.write_json(options.json, {**report, "wrong": wrong})
    return status or bool(wrong)


def _run(part: str, options: argparse.Namespace, out: Console
         ) -> tuple[object, list[str]]:
    parts: dict[str, Callable[[], tuple[object, list[str]]]] = {
        "kill": lambda: soak_parts.kills(options.kills, options.seed, out),
        "neighbours": lambda: soak_parts.neighbours(options.clusters, options.seed, out),
        "long": lambda: soak_parts.long_use(options.boots, options.changes, options.seed, out),
    }
    return parts[part]()


def _in_namespaces() -> int:
    """This very command with process numbers and mounts of its own; its status."""
    if shutil.which("unshare") is None:
        sys.exit("soak.py: unshare not found; install util-linux")
    process = subprocess.Popen(
        ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
         sys.executable, *sys.argv],
        # The package beside this script, and no other one, in every process.
        env={**os.environ, _INSIDE: "1", "PYTHONPATH": str(Path(__file__).resolve().parents[1])})
    # Its end is the end of everything in there.
    signal.signal(signal.SIGTERM, lambda *_: process.kill())
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue  # the terminal has signalled it, too


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = figures.Parser(__doc__)
    parser.add_argument("--kills", type=int_between(1, 1_000_000), default=40,
                        help="moments to kill at (40)")
    parser.add_argument("--clusters", type=int_between(1, 1_000_000), default=8,
                        help="clusters at once (8)")
    parser.add_argument("--boots", type=int_between(1, 1_000_000), default=60,
                        help="boots and stops (60)")
    parser.add_argument("--changes", type=int_between(1, 1_000_000), default=600,
                        help="changes of mode, pods added and pods deleted, together (600)")
    parser.add_argument("--seed", type=int_between(0, 999_999_999), default=1,
                        help="of every random choice (1)")
    parser.add_argument("--parts", type=_parts, default=("kill", "neighbours", "long"),
                        help="of kill,neighbours,long (all)")
    return parser.parse_args(argv)


def _parts(text: str) -> tuple[str, ...]:
    parts = tuple(text.split(","))
    unknown = set(parts) - {"kill", "neighbours", "long"}
    if unknown:
        raise argparse.ArgumentTypeError(f"no such part: {', '.join(map(repr, sorted(unknown)))}")
    return parts


if __name__ == "__main__":
    sys.exit(main())

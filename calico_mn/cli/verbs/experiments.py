"""``experiment`` and ``sweep``, which measure, and what is made of results without a cluster.

That is ``report``, ``plot`` and ``compare``, of experiments' directories.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from calico_mn.cli.complete import FILES, completes
from calico_mn.cli.output import print_json, say, write_file
from calico_mn.cli.verb import OK, Group, UsageError, Verb, named, whole
from calico_mn.errors import CalicoMnError
from calico_mn.text import one_line

if TYPE_CHECKING:
    from calico_mn.report.estimates import Estimate
    from calico_mn.results import Results


# --- experiment, sweep

#: of `sweep`: more clusters at once only wait for each other
_MOST_WORKERS = 64


def _add_experiment(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("list", "run"), metavar="list|run",
                        help="what there is; or run one")
    # All words, so that options after NAME are the experiment's.
    parser.add_argument("words", metavar="NAME ARGUMENT", nargs=argparse.REMAINDER,
                        help="the experiment as listed, and its own arguments: --help lists them")


def _experiment(options: argparse.Namespace) -> int:
    from calico_mn.experiment import scripts

    if options.action == "run":
        name, *arguments = options.words or [""]
        if not name or name.startswith("-"):
            raise UsageError("calico-mn experiment: run which one? 'calico-mn experiment list'")
        script = str(scripts.script(name))
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, script, *arguments])
    if options.words not in ([], ["--json"]):
        raise UsageError(f"calico-mn experiment: list takes nothing but --json, not"
                         f" {one_line(' '.join(options.words))!r}")
    experiments = [{"name": name, "about": scripts.sentence(path), "script": str(path)}
                   for name, path in scripts.scripts().items()]
    if options.json or options.words:
        (options.json or print_json)(experiments)
        return OK
    for experiment in experiments:
        say(experiment["name"])
        say(f"  {experiment['about']}")
    return OK


def _add_sweep(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--local", type=whole, required=True, metavar="N",
                        help="workers on this machine")
    parser.add_argument("words", metavar="NAME ARGUMENT", nargs=argparse.REMAINDER,
                        help="the experiment as listed, and its own arguments")


def _sweep(options: argparse.Namespace) -> int:
    from calico_mn.experiment import requirements, runner, scripts, workers

    name, *arguments = options.words or [""]
    if not name or name.startswith("-"):
        raise UsageError("calico-mn sweep: sweep which one? 'calico-mn experiment list'")
    asked = scripts.load(name).experiment.parse(arguments)
    if not 1 <= options.local <= _MOST_WORKERS:
        raise UsageError(f"calico-mn sweep: --local takes 1 to {_MOST_WORKERS} workers")
    if asked.on:
        raise UsageError("calico-mn sweep: starts workers of its own: leave out --on")
    requirements.require_root_and_programs()
    package = workers.distributed()
    # Only who has the certificates, which are this cluster's own, can make its workers do things.
    with package.LocalCluster(n_workers=options.local, threads_per_worker=1, host="127.0.0.1",
                              security=True, dashboard_address=None,
                              silence_logs=logging.CRITICAL) as cluster:
        return workers.run_on(name.replace("_", "-"), replace(asked, on=cluster.scheduler_address),
                              runner.rebuild, cluster.get_client)


# --- what is shown of which runs

#: points of the units that LaTeX has
_UNITS = {"in": 72.27, "cm": 72.27 / 2.54, "mm": 72.27 / 25.4, "pt": 1.0}
_LEAST_IN, _MOST_IN = 2.0, 20.0


def _width(text: str) -> float:
    """``3.4in`` in inches."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)(in|cm|mm|pt)", text)
    inches = float(match[1]) * _UNITS[match[2]] / _UNITS["in"] if match else 0.0
    if not _LEAST_IN <= inches <= _MOST_IN:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no width from 2in to 20in: write 3.4in,"
                                         " 86mm, 8.6cm or 245pt")
    return inches


def _picture(name: str) -> str:
    if Path(name).suffix not in (".pdf", ".svg", ".png"):
        raise argparse.ArgumentTypeError(f"{name!r} ends in none of .pdf, .svg, .png")
    return name


def _words(text: str) -> list[str]:
    return [named(word.strip()) for word in text.split(",")]


def _add_runs(parser: argparse.ArgumentParser) -> None:
    completes(parser.add_argument("directory", metavar="DIR", nargs="+", type=named,
                                  help="what an experiment wrote"), FILES)
    parser.add_argument("--metric", metavar="M[,M...]", type=_words, default=["throughput"],
                        help="as in results.jsonl; packets:64 is of that size (default:"
                        " throughput)")
    parser.add_argument("--absolute", action="store_true",
                        help="the values themselves instead of their ratios to Never")
    parser.add_argument("--labels", metavar="A,B...", type=_words,
                        help="names of the runs (default: what their machines differ in)")


def _estimates(options: argparse.Namespace) -> tuple[list[Results], tuple[Estimate, ...]]:
    """The runs, and what is to be shown of them."""
    from calico_mn import results
    from calico_mn.report import estimates

    runs = list(map(results.load, options.directory))
    names = options.labels or results.labels(runs)
    if len(names) != len(runs) or len(set(names)) != len(names):
        raise UsageError(f"calico-mn {options.verb}: --labels needs a different name for each of"
                         f" {len(runs)} runs" if options.labels else
                         f"calico-mn {options.verb}: these runs have the same name: use --labels")
    made = estimates.estimates(
        {name: run.summarised() for name, run in zip(names, runs, strict=True)},
        list(map(estimates.read_what, dict.fromkeys(options.metric))), absolute=options.absolute)
    return runs, made


# --- plot

def _add_plot(parser: argparse.ArgumentParser) -> None:
    _add_runs(parser)
    parser.add_argument("--width", type=_width, default=3.4, metavar="W",
                        help="of the figure: 3.4in, 86mm, 245pt (default: 3.4in, a column)")
    parser.add_argument("-o", dest="output", metavar="FILE", type=_picture, default="ratios.pdf",
                        help="FILE.pdf, FILE.svg or FILE.png (default: ratios.pdf)")
    parser.set_defaults(verb="plot")


def _plot(options: argparse.Namespace) -> int:
    from calico_mn.report import paper

    runs, made = _estimates(options)
    path = Path(options.output)
    names = dict.fromkeys(each.run for each in made)
    measured = dict(zip(names, map(_measured, runs), strict=True))
    for name, content in (
            (path, paper.figure(made, options.width, path.suffix[1:])),
            (path.with_name(f"{path.stem}-caption.tex"), paper.caption(made, measured)),
            (path.with_name(f"{path.stem}-table.tex"), paper.table(made))):
        write_file(str(name), content)
        say(f"wrote {name}")
    return OK


def _measured(run: Results) -> str:
    """How and where a run was measured, for a caption."""
    from calico_mn.calico.encapsulation import WITH_BACK_END
    from calico_mn.topology.plain_data import at

    fact = partial(at, run.about)
    facts = (("calico_mn {}", fact("environment", "versions", "calico_mn")),
             ("code {}", fact("environment", "versions", "calico_mn_source")),
             ("Linux {}", fact("environment", "machine", "kernel")),
             ("{}", fact("environment", "machine", "cpu")),
             ("{} CPUs", fact("environment", "machine", "cpus")),
             (f"{WITH_BACK_END.device} by {{}}", fact("environment", "cluster", "tunnel")),
             ("TCP {}", fact("environment", "network", "tcp_congestion_control")),
             ("{} s a transfer", fact("plan", "duration_s")), ("seed {}", fact("plan", "seed")))
    text = ", ".join(words.format(value) for words, value in facts if value is not None)
    quick = " Quick run: not for publication." if fact("plan", "quick") else ""
    return f"{one_line(text)}.{quick}"


# --- compare

def _add_compare(parser: argparse.ArgumentParser) -> None:
    _add_runs(parser)
    parser.set_defaults(verb="compare")


def _compare(options: argparse.Namespace) -> int:
    from calico_mn.report import estimates, terminal

    if len(options.directory) < 2:
        raise UsageError("calico-mn compare: name two directories or more")
    _, made = _estimates(options)
    pairs = estimates.compared(made)
    if not pairs:
        raise CalicoMnError("the runs have no place and mode in common")
    sentences = list(estimates.findings(pairs))
    if options.json:
        options.json({"findings": sentences, "estimates": [
            {"metric": pair.later.what[0], "size": pair.later.what[1], "place": pair.later.place,
             "mode": pair.later.mode, "first": pair.first.run, "later": pair.later.run,
             **{name: {key.strip() or "median": value for key, value in cell.values.items()}
                for name, cell in (("in_first", pair.first.cell), ("in_later", pair.later.cell),
                                   ("quotient", estimates.shown(pair.quotient)))},
             "verdict": pair.verdict} for pair in pairs]})
        return OK
    out = terminal.console()
    terminal.show_sentences(out, sentences)
    out.print()
    for table in estimates.tables(pairs):
        terminal.show_table(out, table)
    return OK


# --- report

def _add_report(parser: argparse.ArgumentParser) -> None:
    completes(parser.add_argument("directory", metavar="DIR", type=named,
                                  help="what an experiment wrote"), FILES)


def _report(options: argparse.Namespace) -> int:
    from calico_mn.experiment.runner import rebuild

    return rebuild(Path(options.directory))


VERBS = (
    Verb(
        "experiment", Group.EXPERIMENTS, "the experiments that come with this: list them, run one",
        "Lists the experiments that come with the program, or runs one of them with its own "
        "arguments, as root. Results go to results/ here (docs/results.md).",
        _add_experiment, run=_experiment, usage="list [--json] | run NAME [ARGUMENT]...", json=True,
        examples=(("calico-mn experiment list", "what there is"),
                  ("sudo calico-mn experiment run mtu --quick", "one of them"),
                  ("calico-mn experiment run convergence --help", "what it can be asked"))),
    Verb(
        "sweep", Group.EXPERIMENTS, "try a run over several machines, with workers on this one",
        "Starts N Dask workers on this machine, has each measure some of an experiment's repeats "
        "in a cluster of its own, and makes one run of them, as an experiment's --on does with "
        "other machines (docs/machines.md). They disturb each other: for a try, not for numbers.",
        _add_sweep, run=_sweep, root=True, usage="--local N NAME [ARGUMENT]...",
        examples=(("sudo calico-mn sweep --local 2 mtu --quick", "a try"),)),
    Verb(
        "report", Group.RESULTS, "make a run's report.html, tables and pictures again",
        "Makes report.html, the tables and the pictures again from results.jsonl and summary.json "
        "of a run, also of one that was cut short, and prints what it says. Nothing is measured.",
        _add_report, run=_report,
        examples=(("calico-mn report results/mtu-20260101-120000", "after an update"),)),
    Verb(
        "plot", Group.RESULTS, "draw a figure for a paper, with caption and table for LaTeX",
        "Draws the ratios to Never of one or several runs with their 95 % intervals: vectors, "
        "embedded fonts, no title, readable in greyscale. Beside FILE.pdf it writes "
        "FILE-caption.tex, and FILE-table.tex with booktabs' rules.",
        _add_plot, run=_plot,
        examples=(("calico-mn plot results/DIR -o ratios.pdf", "a column of a paper"),
                  ("calico-mn plot DIR --metric throughput,latency --width 7in", "two quantities"),
                  ("calico-mn plot DIR DIR2 --labels 'Linux 6.1,Linux 6.18'", "two kernels"))),
    Verb(
        "compare", Group.RESULTS, "say where runs agree and where they differ",
        "Compares the ratios to Never of later runs with those of the first run, in the same "
        "place and mode: two kernels, two tunnels, two days. Each quotient has an interval; where "
        "it does not contain 1, the runs differ.",
        _add_compare, run=_compare, json=True,
        examples=(("calico-mn compare results/DIR results/DIR2", "throughput"),
                  ("calico-mn compare DIR DIR2 --metric latency --absolute", "round trips in us"))),
)

"""``experiment``: the experiments that come with the program, listed and run."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from dataclasses import replace

from calico_mn.cli.output import print_json, say
from calico_mn.cli.verb import OK, UsageError, Verb, whole
from calico_mn.text import one_line

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


VERBS = {
    "experiment": Verb(
        "experiment", "experiments", "the experiments that come with this: list them, run one",
        "Lists the experiments that come with the program, or runs one of them with its own "
        "arguments, as root. Results go to results/ here (docs/results.md).",
        _add_experiment, run=_experiment, usage="list [--json] | run NAME [ARGUMENT]...", json=True,
        examples=(("calico-mn experiment list", "what there is"),
                  ("sudo calico-mn experiment run mtu --quick", "one of them"),
                  ("calico-mn experiment run convergence --help", "what it can be asked"))),
    "sweep": Verb(
        "sweep", "experiments", "try a run over several machines, with workers on this one",
        "Starts N Dask workers on this machine, has each measure some of an experiment's repeats "
        "in a cluster of its own, and makes one run of them, as an experiment's --on does with "
        "other machines (docs/machines.md). They disturb each other: for a try, not for numbers.",
        _add_sweep, run=_sweep, root=True, usage="--local N NAME [ARGUMENT]...",
        examples=(("sudo calico-mn sweep --local 2 mtu --quick", "a try"),)),
}

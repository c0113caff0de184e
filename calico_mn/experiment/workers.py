"""An experiment on the machines of a Dask cluster, and one run made of what they measured.

    blocks of repeats -> a subprocess on a worker's machine for each -> parts -> one directory

A block is a whole experiment with a cluster of its own. A lost worker's block is run by another
(Dask's scheduler does that). dask.distributed is an extra, imported when asked for only.
docs/machines.md is about the machines.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

from calico_mn import results, version
from calico_mn.errors import CalicoMnError, ToolError, UnsupportedError
from calico_mn.experiment import record, scripts
from calico_mn.experiment.arguments import Options
from calico_mn.experiment.blocks import ABOUT, Block, Part, begun, resumed
from calico_mn.experiment.interruption import INTERRUPTED
from calico_mn.experiment.submission import BlockError, Submission
from calico_mn.kernel import processes
from calico_mn.measure.reading_log import SUMMARY, TOPOLOGY
from calico_mn.privileges import as_invoking_user
from calico_mn.streams import complain
from calico_mn.text import one_line, plural
from calico_mn.topology import read_topology
from calico_mn.topology.calico_node import PREFIX

_CONNECT_S, _LOOK_S, _STOP_S = 20, 1.0, 120
#: what of a failed block's messages is kept, in characters
_MOST_MESSAGE = 2000


def distributed() -> Any:
    """The package. Raises UnsupportedError without it, CalicoMnError where its files are malformed.
    """
    try:
        import distributed as package
    except ImportError:
        raise UnsupportedError(f"dask.distributed is not installed: {sys.executable} -m pip install"
                               " 'calico_mn[dask]'") from None
    except (ValueError, OSError) as error:  # it reads them when it is imported
        raise CalicoMnError(f"Dask's configuration cannot be read: {one_line(str(error))}"
                            ) from error
    return package


def code() -> str:
    """Which code measures: version and digests of the package and of experiments/."""
    return (f"{version.VERSION} (code {version.digest()}, experiments"
            f" {version.digest(scripts.DIRECTORY)})")


def named_machine() -> tuple[str, str]:
    """This machine's host name, and what tells it from others of that name (random(4))."""
    return socket.gethostname(), Path("/proc/sys/kernel/random/boot_id").read_text().strip()


# --- on a worker

def measure_block(name: str, arguments: Sequence[str], topology: str,
                  variables: Mapping[str, str], wanted: str) -> Part:
    """Run the experiment ``name`` in a subprocess, since signals need a process's main thread.

    Ends it when its result is no longer wanted, as when the client is gone; the kernel ends it
    with the worker (PR_SET_PDEATHSIG, prctl(2)). Raises BlockError when it measured nothing or not
    everything, and when this is not the code ``wanted``.
    """
    worker = distributed().get_worker()
    machine = socket.gethostname() + (f"-{worker.name}" if isinstance(worker.name, int) else "")
    if code() != wanted:
        raise BlockError(f"{machine}: has calico_mn {code()}, and not {wanted}", worker.address)
    key = worker.get_current_task()
    with tempfile.TemporaryDirectory(prefix="calico-mn-", dir=worker.local_directory) as place:
        output, file, log = (Path(place, each) for each in ("out", "topology.yaml", "log"))
        file.write_text(topology, encoding="utf-8")
        with log.open("wb") as stderr:
            process = processes.start(
                ["setpriv", "--pdeathsig", "TERM", sys.executable, str(scripts.script(name)),
                 *arguments, "--no-report", "--topology", str(file), "--output", str(output)],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr, cwd=place,
                env={**os.environ, **variables})
            status = _ended(process, lambda: _is_wanted(worker, key))
        text = log.read_text(encoding="utf-8", errors="replace")[-_MOST_MESSAGE:]
        run = results.load(output) if (output / SUMMARY).is_file() else None
        if run is None or not run.complete:
            raise BlockError(f"{machine}: {text.strip() or f'ended with status {status}'}",
                             worker.address)
        known = {**record.everything(output), **run.about}
        return Part(machine, run.readings, {each: known.get(each) for each in ABOUT})


def _is_wanted(worker: Any, key: str) -> bool:
    task = worker.state.tasks.get(key)
    return task is not None and task.state != "cancelled"


def _ended(process: subprocess.Popen[Any], is_wanted: Callable[[], bool]) -> int | None:
    """Wait for it, as long as it is wanted; then it is told to stop its cluster and end."""
    while is_wanted():
        with suppress(subprocess.TimeoutExpired):
            return process.wait(_LOOK_S)
    processes.end([process], grace=_STOP_S)
    return process.returncode


# --- at the client

def run_on(name: str, options: Options, rebuild: Callable[[Path], int],
           connect: Callable[[], Any] | None = None) -> int:
    """Run the experiment on every worker of ``options.on``; the exit status.

    With ``options.resume``, what a run of several machines lacks is measured. ``rebuild`` makes
    the report of a directory. ``connect`` makes another client than that one's. Raises
    CalicoMnError when the scheduler does not answer, when a worker has other code or room for two
    blocks at once, when the run to go on with is not one of several machines, and when no block
    gave a result.
    """
    directory = options.resume
    with as_invoking_user(directory) if directory else nullcontext():
        _, text = read_topology(directory / TOPOLOGY if directory else options.topology)
    scripts.script(name)
    client = (connect or partial(_connected, options.on))()
    try:
        workers = _checked(client)
        with (resumed(name, directory) if directory else
              begun(name, options, text, len(workers))) as run:
            # Pools' variables are part of a topology.
            variables = {key: value for key, value in os.environ.items() if key.startswith(PREFIX)}

            def ask(block: Block, **where: Any) -> Any:
                return client.submit(measure_block, name, block.arguments(run.begun.arguments),
                                     text, variables, code(), pure=False, **where)

            complain(f"{plural(len(run.lacking), 'block')} on {plural(len(workers), 'worker')}")
            submission = Submission(client, ask, run.add)
            cut_short = submission.measure(run.lacking, workers)
            if run.parts:
                is_well = run.end(submission.failed, cut_short)
    finally:
        client.close()
    if run.parts:
        status = rebuild(run.directory)
        return INTERRUPTED if cut_short == "interrupted" else status or int(not is_well)
    if cut_short == "interrupted":
        complain("Interrupted before a block had ended.")
        return INTERRUPTED
    raise ToolError("no block gave a result:\n" + "\n".join(
        f"{block}: {text}" for block, texts in submission.failed.items() for text in texts))


def _connected(address: str) -> Any:
    """A client of the scheduler there."""
    package = distributed()
    # Of a lost scheduler it logs tracebacks; the run says it in a line.
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    try:
        certificates = package.Security().get_connection_args("client")["ssl_context"]
    except (OSError, ValueError, TypeError) as error:
        raise CalicoMnError("the certificates that Dask's configuration names cannot be used:"
                            f" {one_line(str(error))}") from error
    if address.startswith("tls:") and not certificates:
        raise CalicoMnError("Dask's configuration names no certificates for tls://: see"
                            " docs/machines.md")
    try:
        return package.Client(address, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise CalicoMnError(f"{address}: no scheduler answers: {one_line(str(error))}"
                            ) from error


def _checked(client: Any) -> list[str]:
    """The workers' addresses, all with this code and one thread, no two machines of one name."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
    if not workers:
        raise CalicoMnError("the scheduler has no workers yet")
    problems = [f"{address}: has {worker['nthreads']} threads, so that blocks would disturb each"
                " other: start it with --nthreads 1"
                for address, worker in workers.items() if worker["nthreads"] != 1]
    own = code()
    for address, theirs in client.run(code, on_error="return").items():
        if isinstance(theirs, BaseException):
            problems.append(f"{address}: calico_mn does not answer: {one_line(str(theirs))}")
        elif theirs != own:
            problems.append(f"{address}: has calico_mn {one_line(theirs)}, and this is {own}")
    if not problems:
        names = [name for name, _ in set(client.run(named_machine).values())]
        problems = [f"{names.count(name)} machines are called {one_line(name)}, and the report"
                    " take them for one: give each a host name of its own"
                    for name in sorted(set(names)) if names.count(name) > 1]
    if problems:
        raise CalicoMnError("\n".join(problems))
    hosts = [worker["host"] for worker in workers.values()]
    for host in sorted({host for host in hosts if hosts.count(host) > 1}):
        complain(f"{hosts.count(host)} workers are on {host}: they measure at the same time and"
                 " disturb each other. Good for a try, not for numbers.")
    return sorted(workers)

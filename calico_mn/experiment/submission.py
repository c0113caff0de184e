"""Blocks handed to Dask's workers, and what comes back of them.

    blocks -> a task for each -> parts, as they end; failures; why that is not all

A block whose worker is lost is run by another: Dask's scheduler does that. A block that fails is
tried once more if there is another worker, by that one. When no worker is left that may run what is
lacking, waiting for one ends after a minute.
"""

from __future__ import annotations

import queue
import signal
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

from calico_mn.errors import ToolError
from calico_mn.experiment.blocks import Block, Part
from calico_mn.streams import complain
from calico_mn.text import join, one_line

#: between looks for workers, and how long there may be none
_LOOK_S, _PATIENCE_S = 2.0, 60.0


class BlockError(ToolError):
    """A block measured nothing, or not everything, on the worker that has this address."""

    def __init__(self, text: str, worker: str = "") -> None:
        super().__init__(text)
        self.worker = worker


@dataclass
class Submission:
    """Blocks that are being measured. ``ask`` is Client.submit with all but block and workers.

    ``ended`` takes each part. ``failed`` says of blocks why, once for each attempt.
    """

    client: Any
    ask: Callable[..., Any]
    ended: Callable[[Block, Part], None]
    failed: dict[Block, list[str]] = field(default_factory=dict)
    _running: dict[Any, tuple[Block, Collection[str]]] = field(default_factory=dict)
    _done: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)

    def measure(self, lacking: Sequence[Block], workers: Sequence[str]) -> str | None:
        """Measure the blocks; why not all are measured, or None. Ctrl-C ends it early."""
        try:
            with self._ctrl_c():
                for block, worker in zip(lacking, cycle(workers), strict=False):
                    self._submit(block, [worker])
                self._wait()
        except KeyboardInterrupt:
            self._cancel()
            return "interrupted"
        failed = [str(block) for block in lacking if block in self.failed]
        return f"{join(failed)} failed" if failed else None

    @contextmanager
    def _ctrl_c(self) -> Iterator[None]:
        """Ctrl-C ends the wait; a second one raises KeyboardInterrupt at once.

        Python raises it wherever it is, and in a destructor of Dask's it would be lost.
        """
        def end(*_: object) -> None:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._done.put(None)

        before = signal.getsignal(signal.SIGINT)
        if before is signal.default_int_handler:  # else it is ignored, or handled by a program
            signal.signal(signal.SIGINT, end)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _submit(self, block: Block, workers: Collection[str], *, only: bool = False) -> None:
        future = self.ask(block, workers=list(workers), allow_other_workers=not only)
        self._running[future] = block, workers if only else ()
        future.add_done_callback(self._done.put)

    def _wait(self) -> None:
        """Until every block has ended, or has no worker any more."""
        last = time.monotonic()
        while self._running:
            with suppress(queue.Empty):
                self._take(self._next())
                last = time.monotonic()
                continue
            if self._may_go_on():
                last = time.monotonic()
            elif time.monotonic() - last > _PATIENCE_S:
                for block, _ in self._running.values():
                    self.failed.setdefault(block, []).append("no worker is left to measure it")
                self._cancel()

    def _next(self) -> Any:
        """The next future that has ended. Raises queue.Empty after a while."""
        future = self._done.get(timeout=_LOOK_S)
        if future is None:
            raise KeyboardInterrupt
        return future

    def _take(self, future: Any) -> None:
        block, only = self._running.pop(future)
        try:
            part = future.result()
        except Exception as error:  # any error of a worker; the other blocks go on
            attempts = self.failed.setdefault(block, [])
            attempts.append("the scheduler ended, or cannot be reached"
                            if isinstance(error, CancelledError) else str(error))
            others = self._workers() - {error.worker} if isinstance(error, BlockError) else ()
            if others and not only:
                complain(f"{block} failed and is measured again by another worker:"
                         f" {one_line(str(error).splitlines()[-1])}")
                self._submit(block, others, only=True)
            return
        self.failed.pop(block, None)
        self.ended(block, part)
        complain(f"{part.machine}: measured {block}")

    def _may_go_on(self) -> bool:
        """Whether there is a worker for one of the blocks that are left."""
        there = self._workers()
        return any(there.intersection(only) if only else there
                   for _, only in self._running.values())

    def _workers(self) -> set[str]:
        try:
            return set(self.client.scheduler_info(n_workers=-1)["workers"])
        except OSError:  # no scheduler answers
            return set()

    def _cancel(self) -> None:
        with suppress(OSError):
            self.client.cancel(list(self._running), force=True)
        self._running.clear()

"""An experiment in blocks of repeats, each measured as a run of its own on one machine.

In go how many repeats and machines there are; out come :class:`Block` objects, the words of the
command line that measures one, and, of what the machines measured, one run: :func:`merged` and
:func:`about`. A repeat's number occurs on one machine only, so ratios, which are paired by it, are
paired within a machine. The machine is the factor ``machine``, which follows from the repeat.

A :class:`MergedRun` is the directory of all: as blocks end, it gets results.jsonl and run.json as
any run has them, so that a run that is cut short has a report and can be resumed, and at the end
summary.json. run.json lists the blocks besides, those that have ended with what is known of them
(:func:`entries`, :func:`known`).
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from calico_mn.errors import CalicoMnError
from calico_mn.experiment import record
from calico_mn.experiment.arguments import Options, without
from calico_mn.measure.reading_log import FORMAT, READINGS, RECORD, SUMMARY, load_readings
from calico_mn.measure.readings import MACHINE, Reading
from calico_mn.privileges import as_invoking_user

#: options of the whole run, or that each block has for itself
_NOT_A_BLOCKS = ("--on", "--on-plain-tcp", "--output", "--topology", "--repeats", "--seed")
#: what is kept of what a block's run knows about itself
ABOUT = ("plan", "environment", "failures", "steal_share", "elapsed_s")


@dataclass(frozen=True, order=True, slots=True)
class Block:
    """Some repeats in a row: the first one's number, from 1, how many they are, and their seed."""

    first: int
    repeats: int
    seed: int

    def __str__(self) -> str:
        last = self.first + self.repeats - 1
        return f"repeat {last}" if self.repeats == 1 else f"repeats {self.first} to {last}"

    def arguments(self, arguments: Sequence[str]) -> list[str]:
        """The run's command line made this block's, without its topology and directory."""
        return [*without(arguments, *_NOT_A_BLOCKS), "--repeats", str(self.repeats), "--seed",
                str(self.seed)]


@dataclass(frozen=True, slots=True)
class Part:
    """What a block gave. ``about`` is what its run.json and summary.json know, by :data:`ABOUT`."""

    machine: str
    readings: tuple[Reading, ...]
    about: Mapping[str, Any]


def blocks(repeats: int, machines: int, seed: int) -> tuple[Block, ...]:
    """A block for each machine, as even as can be; fewer where there are fewer repeats.

    Each has another seed, so that no two machines have the same order of trials.
    """
    count = min(repeats, machines)
    ends = [repeats * n // count for n in range(count + 1)]
    return tuple(Block(ends[n] + 1, ends[n + 1] - ends[n], seed + n) for n in range(count))


def entries(planned: Iterable[Block], parts: Mapping[Block, Part]) -> list[dict[str, Any]]:
    """All blocks as data for run.json: one that has ended with its machine."""
    return [{**asdict(block), **({"machine": parts[block].machine, "about": parts[block].about}
                                 if block in parts else {})} for block in planned]


def known(written: Iterable[Mapping[str, Any]], readings: Iterable[Reading]
          ) -> tuple[list[Block], dict[Block, Part]]:
    """All blocks of what :func:`entries` gave, and the parts of those that have ended.

    ``readings`` are the run's, as :func:`merged`. Raises LookupError or TypeError for other data.
    """
    ended = {Block(each["first"], each["repeats"], each["seed"]): each for each in written}
    every = tuple(readings)
    return list(ended), {block: Part(
        each["machine"],
        tuple(replace(reading, repeat=reading.repeat - block.first + 1) for reading in every
              if 0 <= reading.repeat - block.first < block.repeats),
        {name: each["about"][name] for name in ABOUT})
        for block, each in ended.items() if "machine" in each}


def merged(parts: Mapping[Block, Part]) -> tuple[Reading, ...]:
    """All readings as those of one run: numbered through, and each with its machine."""
    readings = [
        replace(reading, repeat=block.first + reading.repeat - 1,
                seen={**reading.seen, MACHINE: parts[block].machine})
        for block in sorted(parts)
        for reading in parts[block].readings]
    return tuple(replace(reading, order=order) for order, reading in enumerate(readings, 1))


def about(parts: Mapping[Block, Part], repeats: int, failures: Iterable[str],
          cut_short: str | None) -> dict[str, Any]:
    """What is known of the run, of at least one part.

    Plan and environment are the first part's; ``environment["machines"]`` has each machine's own.
    The share of stolen CPU time and the time that it took are the largest.
    """
    ordered = [parts[block] for block in sorted(parts)]
    first = ordered[0].about
    return {
        "plan": {**first["plan"], "repeats": repeats}, "cut_short": cut_short,
        "complete": cut_short is None,
        "failures": [*failures, *(f"{part.machine}: {failure}" for part in ordered
                                  for failure in part.about["failures"])],
        "environment": {**first["environment"], "machines": {
            part.machine: part.about["environment"] for part in ordered}},
        **{name: max((part.about[name] for part in ordered if part.about[name] is not None),
                     default=None) for name in ("steal_share", "elapsed_s")}}


# --- the directory of them all

@dataclass(frozen=True)
class MergedRun:
    """All blocks of a run, the parts of those that have ended, and the record that it began with.
    """

    directory: Path
    begun: record.Record
    planned: Sequence[Block]
    parts: dict[Block, Part]

    @property
    def lacking(self) -> list[Block]:
        """The blocks that have not ended."""
        return [block for block in self.planned if block not in self.parts]

    def add(self, block: Block, part: Part) -> None:
        """Keep what a block gave, on disk too."""
        part.about["environment"]["cluster"]["topology"] = self.begun.topology  # it read a copy
        self.parts[block] = part
        lines = [{"format": FORMAT, "experiment": self.begun.experiment},
                 *map(asdict, merged(self.parts))]
        facts = self._about({}, None)
        with as_invoking_user(self.directory):
            # The readings first: those of a block that run.json does not know yet do not count.
            record.write(self.directory / READINGS, "".join(
                json.dumps(line) + "\n" for line in lines))
            record.add(self.directory, {
                "blocks": entries(self.planned, self.parts),
                **{name: facts[name] for name in (
                    "plan", "environment", "steal_share", "elapsed_s")}})

    def end(self, failed: Mapping[Block, Sequence[str]], cut_short: str | None) -> bool:
        """Write summary.json; whether nothing failed."""
        summary = self._about(failed, cut_short)
        with as_invoking_user(self.directory):
            record.write_json(self.directory / SUMMARY, {
                **{name: value for name, value in record.everything(self.directory).items()
                   if name != "blocks"}, **summary, "command": self.begun.command,
                "format": FORMAT})
        return not summary["failures"]

    def _about(self, failed: Mapping[Block, Sequence[str]], cut_short: str | None
               ) -> dict[str, Any]:
        return about(self.parts, sum(block.repeats for block in self.planned), [
            f"{block}: {failure}" for block in sorted(failed) for failure in failed[block]],
            cut_short)


@contextmanager
def begun(name: str, options: Options, topology: str, machines: int) -> Iterator[MergedRun]:
    """A new run of the experiment ``name``; without a part in the end, nothing is left of it."""
    with as_invoking_user(options.output or Path()):
        directory = record.output_directory(options.output, name, datetime.now())
    planned = blocks(options.repetitions.repeats, machines, options.seed)
    with as_invoking_user(directory):
        begin = record.begin(directory, name, options, topology,
                             private=record.is_private(options.topology))
        record.add(directory, {"blocks": entries(planned, {})})
    run = MergedRun(directory, begin, planned, {})
    try:
        with _held(directory):
            yield run
    finally:
        if not run.parts:
            with as_invoking_user(directory):
                record.discard(directory)


@contextmanager
def resumed(name: str, directory: Path) -> Iterator[MergedRun]:
    """A run that was cut short. Raises CalicoMnError where there is none of several machines."""
    with as_invoking_user(directory):
        begin = record.read(directory, name)
        written = record.everything(directory).get("blocks")
        readings = (load_readings(directory / READINGS)
                    if (directory / READINGS).is_file() else ())
    if not written:
        raise CalicoMnError(f"{directory}: was measured on one machine: leave out --on, to go on"
                            " on this one")
    try:
        planned, parts = known(written, readings)
    except (LookupError, TypeError) as error:
        raise CalicoMnError(f"{directory / RECORD}: holds blocks that are none: {error}") from error
    with _held(directory):
        yield MergedRun(directory, begin, planned, parts)


@contextmanager
def _held(directory: Path) -> Iterator[None]:
    """Locked for as long: two clients at once would spoil it."""
    with as_invoking_user(directory):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # a file system that has no locks
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise CalicoMnError(f"{directory}: its run is still going on") from None
        yield
    finally:
        os.close(descriptor)

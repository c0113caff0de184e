"""The directory of a run on several machines, written as its blocks end.

Blocks go in one by one; out come results.jsonl and run.json as any run has them, so that a run
that is cut short has a report and can be resumed, and at the end summary.json. run.json lists the
blocks besides, those that have ended with what is known of them.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from calico_mn.errors import CalicoMnError
from calico_mn.experiment import record
from calico_mn.experiment.arguments import Options
from calico_mn.experiment.blocks import Block, Part, about, blocks, entries, known, merged
from calico_mn.measure.reading_log import FORMAT, READINGS, RECORD, SUMMARY, load_readings
from calico_mn.privileges import as_invoking_user


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
        known = self._about({}, None)
        with as_invoking_user(self.directory):
            # The readings first: those of a block that run.json does not know yet do not count.
            record.write(self.directory / READINGS, "".join(
                json.dumps(line) + "\n" for line in lines))
            record.add(self.directory, {
                "blocks": entries(self.planned, self.parts),
                **{name: known[name] for name in (
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

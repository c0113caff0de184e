"""An experiment in blocks of repeats, each measured as a run of its own on one machine. Pure.

In go how many repeats and machines there are; out come :class:`Block` objects, the words of the
command line that measures one, and, of what the machines measured, one run: :func:`merged` and
:func:`about`. A repeat's number occurs on one machine only, so ratios, which are paired by it, are
paired within a machine. The machine is the factor ``machine``, which follows from the repeat.
:func:`entries` and :func:`known` write in run.json which blocks have ended, and read it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from calico_mn.experiment.arguments import without
from calico_mn.measure.readings import MACHINE, Reading

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

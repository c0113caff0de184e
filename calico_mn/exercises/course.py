"""The exercise under way in a cluster: begun, hinted at, solved and taken back.

In go a cluster and an exercise's number; out come its texts with the names of this cluster. There
is one :class:`Course` for a cluster, ``net.exercises``, so that all terminals see the same.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from calico_mn.emulation.net import CalicoNet
from calico_mn.errors import ClusterError
from calico_mn.exercises.catalogue import EXERCISES, Exercise
from calico_mn.exercises.stage import Stage


@dataclass(frozen=True, slots=True)
class Task:
    """What the student is told at the beginning."""

    number: int
    symptom: str
    question: str


@dataclass(frozen=True, slots=True)
class Solution:
    """The cause; commands that find it, and commands that mend it."""

    number: int
    cause: str
    find: tuple[str, ...]
    mend: tuple[str, ...]


@dataclass(slots=True)
class _Begun:
    """An exercise that was begun, with the number of hints that were given."""

    task: Task
    exercise: Exercise
    stage: Stage
    hints: int = 0

    def text(self, text: str) -> str:
        return text.format(**self.stage.names)


class Course:
    """The exercises of the cluster of ``net``, one at a time."""

    def __init__(self, net: CalicoNet) -> None:
        self._net = net
        self._current: _Begun | None = None

    @property
    def task(self) -> Task | None:
        """The exercise under way."""
        return self._current.task if self._current else None

    def begin(self, number: int | None = None, seed: int | None = None) -> Task:
        """Break something: exercise ``number``, or one by chance; ``seed`` also chooses the pods.

        Raises ClusterError where another is under way, or for what this cluster lacks.
        """
        if self._current is not None:
            raise ClusterError(f"exercise {self._current.task.number} is under way: end it first"
                               " (calico-mn break --reset)")
        chance = random.Random(seed)
        numbers = [number] if number is not None else chance.sample(
            range(1, len(EXERCISES) + 1), len(EXERCISES))
        if not 1 <= numbers[0] <= len(EXERCISES):
            raise ClusterError(f"there is no exercise {number}: there are 1 to {len(EXERCISES)}")
        begun = self._first(numbers, chance)
        try:
            begun.exercise.stage(begun.stage)
        except BaseException:
            begun.stage.end()
            raise
        self._current = begun
        self._net.refresh_sessions()
        return begun.task

    def _first(self, numbers: Sequence[int], chance: random.Random) -> _Begun:
        """The first of these exercises that the cluster can have, with nothing broken yet."""
        refusals = []
        for number in numbers:
            exercise = EXERCISES[number - 1]
            try:
                stage = Stage.choose(self._net, exercise.needs, chance.randrange(2**32))
            except ClusterError as error:
                refusals.append(error)
                continue
            question = exercise.question.format(**stage.names)
            return _Begun(Task(number, exercise.symptom, question), exercise, stage)
        raise refusals[-1]

    def hint(self) -> tuple[int, int, str]:
        """The next hint, the last one again at the end: its number, how many, the text."""
        begun = self._under_way()
        hints = begun.exercise.hints
        begun.hints = min(begun.hints + 1, len(hints))
        return begun.hints, len(hints), begun.text(hints[begun.hints - 1])

    def solution(self) -> Solution:
        """What is wrong, how it is found and mended; it stays as it is."""
        begun = self._under_way()
        exercise = begun.exercise
        return Solution(begun.task.number, begun.text(exercise.cause),
                        tuple(map(begun.text, exercise.find)),
                        tuple(map(begun.text, exercise.mend)))

    def check(self) -> dict[str, int | bool]:
        """Whether the symptom is gone: ``number`` and ``solved``."""
        begun = self._under_way()
        self._net.refresh_sessions()
        return {"number": begun.task.number, "solved": not begun.exercise.is_broken(begun.stage)}

    def reset(self) -> int:
        """Take back what is left of the fault. Returns the exercise's number, 0 if there is none.
        """
        begun, self._current = self._current, None
        if begun is None:
            return 0
        begun.stage.end()
        return begun.task.number

    def _under_way(self) -> _Begun:
        if self._current is None:
            raise ClusterError("no exercise is under way: calico-mn break begins one")
        return self._current

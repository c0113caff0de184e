"""Who reaches whom in each mode, on the fabric as it is: looked at once, before the trials.

In go a run, a cluster and its pods; out come readings in the run's log, and what follows from them
for the trials: a pair that the fabric does not connect needs the pods' routes in the routers, which
an emulated cluster can have and a real one is not given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from calico_mn.calico.encapsulation import Encapsulation
from calico_mn.experiment.run import Run
from calico_mn.measure import paths, reachability
from calico_mn.measure.metrics import Value
from calico_mn.measure.net import Net
from calico_mn.measure.paths import Endpoint, Pair
from calico_mn.measure.trials import PLAIN, POD_ROUTES

#: seconds that one pair's ping takes, many at a time
_PAIR_S = 0.008


@dataclass(frozen=True, slots=True)
class Reach:
    """What the run's log knows of the pods' reach."""

    run: Run
    net: Net
    pods: tuple[Endpoint, ...]
    encapsulation: Encapsulation

    def seconds(self, modes: Sequence[str]) -> float:
        """How long :meth:`look` is expected to take."""
        return len(modes) * len(paths.ordered_pairs(self.pods)) * _PAIR_S

    def look(self, modes: Sequence[str]) -> None:
        """Every pod pings every other in each mode. A resumed run leaves out what it has."""
        for mode in modes:
            pairs = [pair for pair in paths.ordered_pairs(self.pods)
                     if not self.run.log.find("ping", self._setting(mode, pair))]
            if pairs:
                self.net.set_mode(mode, encapsulation=self.encapsulation)
                for reached in reachability.matrix(self.net, pairs):
                    self.run.log.add("ping", self._setting(mode, reached.pair),
                                     reached.measurement)
                    self.run.step(f"{mode}: who reaches whom", _PAIR_S)

    def fabric(self, mode: str, pair: Pair) -> str | None:
        """The fabric on which a trial of the pair can be: as it is, or with the pods' routes.

        None for a pair that a real cluster does not connect.
        """
        reading = self.run.log.find("ping", self._setting(mode, pair))
        if reading is not None and reading.values[reachability.REACHABLE] == 1:
            return PLAIN
        return None if self.run.real else POD_ROUTES

    def _setting(self, mode: str, pair: Pair) -> dict[str, Value]:
        return {"mode": mode, **pair.factors, "fabric": PLAIN, "tunnel": self.net.tunnel}

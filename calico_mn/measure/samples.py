"""Samples, and the file they go to as they are taken: one JSON object a line.

docs/results.md describes the fields for the people who read the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType

from calico_mn.errors import CalicoMnError
from calico_mn.measure.paths import Pair

#: of results.jsonl and summary.json together; docs/results.md describes it
FORMAT = 1

#: metric -> its unit
UNITS = {"reachable": "bool", "throughput": "Mbit/s", "latency": "us"}

PLAIN = "plain"
POD_ROUTES = "pod-routes"


@dataclass(frozen=True, slots=True)
class Sample:
    """One measured value, with all that is needed to group it.

    ``source`` and ``destination`` are pods as ``namespace/name``; ``repeat`` and ``order`` count
    from 1, the latter over the whole run. ``encapsulated`` tells whether packets from source to
    destination were seen on the wire inside IPIP; None: none was seen at all. ``fabric`` is
    ``plain`` or, when every router was taught the pods' blocks for this sample, ``pod-routes``.
    """

    mode: str
    source: str
    destination: str
    path: str
    metric: str
    value: float
    unit: str
    repeat: int
    order: int
    encapsulated: bool | None
    tunnel: str
    fabric: str


class SampleLog:
    """Writes samples to ``path`` at once, so that a crash loses none that was taken.

    ``tunnel`` is the back end that all of them were measured with. ``failures`` says of each
    trial that gave no sample why.
    """

    def __init__(self, path: Path, tunnel: str) -> None:
        self.samples: list[Sample] = []
        self.failures: list[str] = []
        self._tunnel = tunnel
        # "x": what somebody measured before is never overwritten.
        self._file = open(path, "x", encoding="utf-8")  # noqa: SIM115

    def __enter__(self) -> SampleLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._file.close()

    def add(self, pair: Pair, mode: str, metric: str, value: float, *, repeat: int = 1,
            encapsulated: bool | None, fabric: str = PLAIN) -> Sample:
        """Number a sample, keep it, write it."""
        sample = Sample(
            mode=mode, source=pair.source.name, destination=pair.destination.name,
            path=pair.path, metric=metric, value=value, unit=UNITS[metric], repeat=repeat,
            order=len(self.samples) + 1, encapsulated=encapsulated, tunnel=self._tunnel,
            fabric=fabric)
        self._file.write(json.dumps(asdict(sample)) + "\n")
        self._file.flush()
        self.samples.append(sample)
        return sample


def load_samples(path: Path) -> tuple[Sample, ...]:
    """Read a file of samples.

    A last line that was torn by a crash is left out. Raises CalicoMnError, with the line's
    number, for anything else that is not a sample.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CalicoMnError(f"{path}: cannot be read: {error}") from error
    return tuple(_samples(path, text))


def _samples(path: Path, text: str) -> Iterator[Sample]:
    names = {field.name for field in fields(Sample)}
    lines = text.split("\n")
    # What follows the last line end was not written to its end.
    for number, line in enumerate(lines[:-1], 1):
        try:
            values = json.loads(line)
            yield Sample(**{name: values[name] for name in names})
        except (ValueError, TypeError, KeyError) as error:
            raise CalicoMnError(f"{path}:{number}: not a sample: {line[:80]!r}") from error

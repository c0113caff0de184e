"""What an experiment left in its directory, read back for analysis. docs/results.md explains it.

    run = calico_mn.results.load("results/ipip-modes-20260101-120000")
    run                            # a line; in a notebook the findings and the ratios
    run.frame(), run.summary()     # pandas: a row a value, a row a mode, place and metric

pandas is imported by the methods that return its frames, and what draws by those that draw.
"""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from calico_mn import streams
from calico_mn.calico.encapsulation import WITH_BACK_END
from calico_mn.errors import CalicoMnError
from calico_mn.measure.reading_log import (
    MOST_ABOUT,
    READINGS,
    RECORD,
    SUMMARY,
    check_format,
    load_readings,
)
from calico_mn.measure.readings import Reading, Value, known_metrics, samples
from calico_mn.measure.statistics import spread
from calico_mn.report import summary_tables
from calico_mn.report.summary import NEVER, Summary, summarise
from calico_mn.text import one_line, plural
from calico_mn.topology.plain_data import at

#: what runs may differ in, as words for a label: the path in the environment, and its words
_DIFFERENCES = {
    ("machine", "kernel"): "Linux {}", ("machine", "cpu"): "{}",
    ("cluster", "tunnel"): f"{{}} {WITH_BACK_END.device}",
    ("cluster", "topology"): "{}", ("cluster", "profile"): "{}",
    ("cluster", "iptables"): "iptables {}", ("network", "tcp_congestion_control"): "{}"}


@dataclass(frozen=True, slots=True, repr=False)
class Results:
    """One run. ``readings`` are in the order of measurement.

    ``about`` is the whole of summary.json, or of run.json for a run that was killed before it
    could write the former; ``environment`` the part of it that tells of machine and programs.
    """

    directory: Path
    readings: tuple[Reading, ...]
    environment: Mapping[str, Any]
    about: Mapping[str, Any]

    def __repr__(self) -> str:
        return (f"<Results {self.name}: {plural(len(self.readings), 'reading')},"
                f" {'complete' if self.complete else 'not complete'}>")

    def _repr_html_(self) -> str:
        """What a notebook shows: the findings, and the ratios to Never where there are some."""
        from calico_mn.report.summary_figures import forest_of

        findings = self.about.get("findings")
        lines = "".join(f"<li>{escape(str(text))}</li>" for text in (
            findings if isinstance(findings, list) else ()))
        figure = forest_of(self.summarised())
        return (f"<p><b>{escape(self.name)}</b>: {plural(len(self.readings), 'reading')}</p>"
                f"<ul>{lines}</ul>"
                + (f'<img src="{figure.data_url}" alt="{escape(figure.alt)}">' if figure else ""))

    @property
    def name(self) -> str:
        """The directory's own name."""
        return self.directory.resolve().name

    def summarised(self) -> Summary:
        """A row for each mode in each place, with medians, intervals and ratios to the baseline."""
        modes = tuple(dict.fromkeys(str(reading.setting["mode"]) for reading in self.readings
                                    if "mode" in reading.setting))
        baseline = at(self.about, "plan", "baseline")
        return summarise(samples(self.readings), modes, baseline if baseline in modes else NEVER)

    @property
    def rows(self) -> tuple[dict[str, Value], ...]:
        """Tidy rows: a row a measured value, a column a factor."""
        return tuple(sample.row() for sample in samples(self.readings))

    @property
    def complete(self) -> bool:
        """Whether every trial that was planned was tried."""
        return self.about.get("complete") is True

    def frame(self) -> Any:
        """A pandas frame of :attr:`rows`, with the run's name in the column ``run``."""
        return _frame({"run": self.name, **row} for row in self.rows)

    def to_pandas(self) -> Any:
        """The same as :meth:`frame`, under the name that other libraries have for it."""
        return self.frame()

    def summary(self) -> Any:
        """A pandas frame like summary.csv: n, median, interval and more of each metric.

        Of an experiment without modes and paths: n, median, low, high by setting and metric.
        """
        table = summary_tables.tidy(self.summarised())
        lines: list[dict[str, Any]] = [dict(zip(table.columns, row, strict=True))
                                       for row in table.rows]
        groups: dict[tuple[Any, ...], list[float]] = {}
        for sample in () if lines else samples(self.readings):
            if isinstance(sample.value, (int, float)):
                key = (sample.metric, *sorted(sample.reading.setting.items()))
                groups.setdefault(key, []).append(sample.value)
        for (metric, *setting), values in groups.items():
            numbers = spread(values)
            lines.append({
                **dict(setting), "metric": metric, "unit": known_metrics()[metric].unit,
                "n": numbers.n, "median": numbers.median,
                **summary_tables.bounds(numbers.interval)})
        return _frame({"run": self.name, **line} for line in lines)

    def series(self, name: str) -> Any:
        """A pandas frame of the single values behind readings, such as ``round_trips_us``."""
        names = {key for reading in self.readings for key in reading.series}
        if name not in names:
            raise CalicoMnError(f"{self.name}: has no series {name!r}; it has"
                                f" {', '.join(sorted(names)) or 'none'}")
        return _frame(
            {"run": self.name, "order": reading.order, "instrument": reading.instrument,
             "repeat": reading.repeat, **reading.setting, "sample": sample, name: value}
            for reading in self.readings for sample, value in enumerate(
                reading.series.get(name, ())))


def _frame(rows: Any) -> Any:
    try:
        import pandas
    except ImportError:
        raise CalicoMnError("frames need pandas: pip install pandas. Without it, Results.rows"
                            " are the same rows as dictionaries") from None
    return pandas.DataFrame(list(rows))


def labels(runs: Sequence[Results]) -> tuple[str, ...]:
    """What tells the runs apart: kernel, tunnel and the like, else the date, else the name."""
    def facts(run: Results, paths: Sequence[tuple[str, str]]) -> list[str]:
        return [_DIFFERENCES[path].format(one_line(
            str(at(run.environment, *path)).rpartition("/")[2])) for path in paths
            if at(run.environment, *path) is not None]

    differing = [path for path in _DIFFERENCES
                 if len({str(at(run.environment, *path)) for run in runs}) > 1]
    for words in ([", ".join(facts(run, differing)) for run in runs],
                  [one_line(str(run.environment.get("date", "")))[:10] for run in runs]):
        if len(set(words)) == len(runs) and all(words):
            return tuple(words)
    return tuple(run.name for run in runs)


def load_all(pattern: str) -> tuple[Results, ...]:
    """Every run whose directory the pattern names (``results/ipip-modes-*``), by name.

    Raises CalicoMnError when it names none, and as :func:`load`.
    """
    paths = [path for path in sorted(glob.glob(pattern)) if (Path(path) / READINGS).is_file()]
    if not paths:
        raise CalicoMnError(f"{pattern}: no directory with {READINGS} is called so")
    return tuple(map(load, paths))


def load(directory: str | os.PathLike[str]) -> Results:
    """Read a run's results.jsonl and summary.json; ``directory``, or the former's own name.

    A last line of results.jsonl that was torn by a crash is left out. Raises CalicoMnError when
    the directory holds no results, when a file is damaged, or when its format is one that this
    version of calico_mn does not read.
    """
    path = Path(directory)
    if path.name == READINGS and path.is_file():
        path = path.parent
    if not (path / READINGS).is_file():
        raise CalicoMnError(f"{path}: holds no {READINGS}: give the directory that an experiment"
                            " named as its output")
    # First the format: what a newer one means by a reading is not to be guessed.
    summary = _about(path / SUMMARY) or _about(path / RECORD)
    about = summary.get("environment", {})
    if not isinstance(about, dict):
        raise CalicoMnError(f"{path}: holds an environment that is not one")
    return Results(path, load_readings(path / READINGS), about, summary)


def _about(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        about = json.loads(streams.read_bounded(path, MOST_ABOUT))
    except (OSError, ValueError, RecursionError) as error:
        raise CalicoMnError(f"{path}: cannot be read: {error}") from error
    check_format(path, about.get("format") if isinstance(about, dict) else None)
    return dict(about)

"""``walkthrough``: replays the article's commands on a cluster of its own."""

from __future__ import annotations

import argparse
import shutil
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from calico_mn.cli.complete import FILES, completes
from calico_mn.cli.output import paint, say
from calico_mn.cli.verb import OK, UsageError, Verb, named, whole
from calico_mn.command_line import add_engine, add_tunnel
from calico_mn.errors import FAILED

if TYPE_CHECKING:
    from calico_mn.emulation.net import CalicoNet
    from calico_mn.walkthrough.step import Result
    from calico_mn.walkthrough.text import Lines

GROUP = "to learn"

_FILE = "topologies/article.yaml"
_NARROWEST, _WIDEST = 80, 100


def _add(parser: argparse.ArgumentParser) -> None:
    from calico_mn.walkthrough.step import LANGUAGES

    completes(parser.add_argument("file", metavar="FILE", nargs="?", type=named,
                                  help=f"the article's cluster (default: {_FILE})"), FILES)
    parser.add_argument("--lang", choices=LANGUAGES, default=LANGUAGES[0],
                        help="the language of the explanations (default: en)")
    parser.add_argument("--chapter", type=whole, metavar="N", help="this chapter alone")
    parser.add_argument("--list", action="store_true", help="list the chapters and run nothing")
    parser.add_argument("--pause", action="store_true", help="wait for Enter between steps")
    add_tunnel(parser)
    add_engine(parser)


def _walkthrough(options: argparse.Namespace) -> int:
    from calico_mn.topology import load_topology
    from calico_mn.walkthrough.article import CHAPTERS
    from calico_mn.walkthrough.replay import replay
    from calico_mn.walkthrough.step import summarise
    from calico_mn.walkthrough.text import document

    chapters = list(enumerate(CHAPTERS, 1))
    if options.list:
        for number, chapter in chapters:
            say(f"{number}  {chapter.title.of(options.lang)}")
        return OK
    if options.chapter is not None:
        if not 1 <= options.chapter <= len(chapters):
            raise UsageError(f"calico-mn walkthrough: there is no chapter {options.chapter}: they"
                             f" are 1 to {len(chapters)} ('calico-mn walkthrough --list')")
        chapters = chapters[options.chapter - 1:options.chapter]
    if options.pause and (options.json or not sys.stdin.isatty()):
        raise UsageError("calico-mn walkthrough: --pause needs a terminal, and no --json")
    topology = load_topology(options.file or _article())
    show = _Show(options, topology.source)
    with closing(replay(topology, chapters, tunnel=options.tunnel, engine=options.engine,
                        timers=options.bird_timers,
                        booted=show.booted)) as steps:
        for result in steps:
            show.step(result)
    summary = summarise(show.results)
    if options.json:
        options.json(document(topology.source, show.tunnel, options.lang, show.results, summary))
    else:
        show.lines(show.renderer.summary(summary))
    return OK if summary.ok else FAILED


def _article() -> Path:
    """The file in the current directory, or in the checkout that this program belongs to."""
    for directory in (Path(), Path(__file__).resolve().parents[3]):
        if (directory / _FILE).is_file():
            return directory / _FILE
    raise UsageError(f"calico-mn walkthrough: there is no {_FILE} here; name the file")


class _Show:
    """Prints results as they come; with --json it only keeps them."""

    def __init__(self, options: argparse.Namespace, source: str) -> None:
        from calico_mn.walkthrough.text import Renderer

        columns = shutil.get_terminal_size((_WIDEST, 0)).columns
        self.renderer = Renderer(options.lang, min(max(columns, _NARROWEST), _WIDEST))
        self.results: list[Result] = []
        self.tunnel = ""
        self._options = options
        self._source = source
        self._pauses = options.pause

    def booted(self, net: CalicoNet) -> None:
        """A cluster runs; before the first step of the first one comes the heading."""
        if not self.tunnel:
            self.tunnel = net.tunnel
            bird = net.distributor.name if net.birds else ""
            self.lines(self.renderer.heading(self._source, net.tunnel, bird))

    def step(self, result: Result) -> None:
        """Print a step, and a chapter's title before its first one."""
        from calico_mn.walkthrough.article import CHAPTERS

        last = self.results[-1] if self.results else None
        self.results.append(result)
        if last and self._pauses:
            self._wait()
        if last is None or last.chapter != result.chapter:
            self.lines(self.renderer.chapter(result.chapter, CHAPTERS[result.chapter - 1]))
        self.lines(self.renderer.step(result))

    def lines(self, lines: Lines) -> None:
        """Lines in their styles."""
        if not self._options.json:
            for line in lines:
                say(paint(line.text, line.style))
            sys.stdout.flush()

    def _wait(self) -> None:
        from calico_mn.walkthrough.article import WORDS

        try:
            input(f"\n{WORDS['next'].of(self._options.lang)}")
        except EOFError:
            self._pauses = False


VERBS = {
    "walkthrough": Verb(
        "walkthrough", GROUP, "an article about Calico, typed again, line by line",
        "Replays an article about Calico's network on a cluster of its own: each "
        "command, what it prints here, the line that the article shows, and whether they agree "
        "apart from named differences. Where the article is wrong, it shows that, too. The "
        "cluster ends with the walkthrough.",
        _add, run=_walkthrough, json=True, root=lambda options: not options.list,
        examples=(("calico-mn walkthrough", "all of it, some five seconds"),
                  ("calico-mn walkthrough --lang zh", "explained in Chinese"),
                  ("calico-mn walkthrough --chapter 4 --pause", "one chapter, step by step")),
        status="0 all that must match did, 1 a line or a check did not"),
}

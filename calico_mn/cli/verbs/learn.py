"""``break``, ``hint``, ``solution``: exercises in a run; ``walkthrough``: an article replayed."""

from __future__ import annotations

import argparse
import shutil
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calico_mn.cli.complete import FILES, completes
from calico_mn.cli.output import paint, say
from calico_mn.cli.verb import OK, Group, UsageError, Verb, named, nothing, whole
from calico_mn.command_line import add_engine, add_tunnel
from calico_mn.errors import FAILED, NotFoundError
from calico_mn.text import plural, wrap

if TYPE_CHECKING:
    from calico_mn.control.session import Session
    from calico_mn.emulation.net import CalicoNet
    from calico_mn.walkthrough.step import Result
    from calico_mn.walkthrough.text import Lines

_WIDTH = 80


# --- exercises

def _add_break(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", metavar="S", type=whole,
                        help="choose the same exercise and pods for the same S")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("number", metavar="N", nargs="?", type=whole,
                     help="which exercise (default: by chance)")
    how.add_argument("--list", action="store_true", help="list the exercises by their symptoms")
    how.add_argument("--check", action="store_true", help="say whether it is mended")
    how.add_argument("--reset", action="store_true", help="end the exercise: all is as before")


def _break(options: argparse.Namespace, session: Session) -> int:
    if options.reset:
        return _ended(options, session.ask("break-reset"))
    if options.check:
        answer = session.ask("break-check")
        (options.json or _show_check)(answer)
        return OK if answer["solved"] else FAILED
    if options.list:
        (options.json or _show_list)(session.ask("exercises"))
    else:
        (options.json or _show_task)(
            session.ask("break", number=options.number, seed=options.seed))
    return OK


def _show_check(answer: dict[str, Any]) -> None:
    say(f"exercise {answer['number']} is "
        + ("solved: 'break --reset' ends it" if answer["solved"] else "not solved yet"))


def _show_task(task: dict[str, Any]) -> None:
    say(paint(f"Exercise {task['number']}: {task['symptom']}", "title"))
    _paragraph("", task["question"])
    say("'hint' helps, 'solution' tells, 'break --reset' ends it.")


def _list(options: argparse.Namespace) -> int:
    """``break --list``, which needs no run: with one it says what is under way there."""
    from calico_mn.control.session import remote
    from calico_mn.exercises.catalogue import listed

    try:
        answer = remote(options.run).ask("exercises")
    except NotFoundError:
        if options.run:
            raise
        answer = {"exercises": listed(), "current": None}
    (options.json or _show_list)(answer)
    return OK


def _show_list(answer: dict[str, Any]) -> None:
    for exercise in answer["exercises"]:
        _paragraph(f"{exercise['number']:2}  ", exercise["symptom"])
    if answer["current"]:
        say(f"under way: {answer['current']['number']}")


def _ended(options: argparse.Namespace, answer: dict[str, Any]) -> int:
    if options.json:
        options.json(answer)
    else:
        say(f"exercise {answer['number']} is over" if answer["number"] else
            "no exercise was under way")
        if answer["remaining"]:
            say(paint(f"'calico-mn verify' still reports "
                      f"{plural(answer['remaining'], 'difference')}", "bad"))
    return FAILED if answer["remaining"] else OK


def _hint(options: argparse.Namespace, session: Session) -> int:
    answer = session.ask("hint")
    if options.json:
        options.json(answer)
    else:
        _paragraph(f"hint {answer['hint']} of {answer['of']}: ", answer["text"])
    return OK


def _add_solution(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repair", action="store_true", help="also end the exercise")


def _solution(options: argparse.Namespace, session: Session) -> int:
    answer = session.ask("solution", repair=options.repair)
    if options.json:
        options.json(answer)
        return OK
    _paragraph("", answer["cause"])
    for title, commands in (("To find it:", answer["find"]), ("To mend it:", answer["mend"])):
        say(paint(title, "title"))
        for command in commands:
            say(f"  {command}")
    return _ended(options, answer) if options.repair else OK


def _paragraph(label: str, text: str) -> None:
    for line in wrap(text, _WIDTH, " " * len(label), first=label):
        say(line)


# --- walkthrough

_FILE = "topologies/article.yaml"
_NARROWEST, _WIDEST = 80, 100


def _add_walkthrough(parser: argparse.ArgumentParser) -> None:
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


VERBS = (
    Verb(
        "break", Group.EXERCISES, "break something, for an exercise",
        "Breaks one thing in the running cluster and describes the symptom, not the cause. verify, "
        "trace, routes, bgp and 'policy explain' are there to find it. One exercise at a time; "
        "every terminal sees the same one. See docs/exercises.md.",
        _add_break, run=_list, ask=_break, json=True, prompt=True,
        root=lambda options: not options.list,
        usage="[N] [--seed S] | --list | --check | --reset",
        status="1: --check: it is not solved; --reset: something else is not as it should be",
        examples=(("calico-mn break --list", "the exercises, by their symptoms"),
                  ("calico-mn break 4", "the fourth"),
                  ("calico-mn break --seed 7", "one by chance, the same for a whole class"),
                  ("calico-mn break --check", "is it mended?"),
                  ("calico-mn break --reset", "all is as before"))),
    Verb(
        "hint", Group.EXERCISES, "the next hint for the exercise under way",
        "Prints the next hint for the exercise that 'break' began; each says more than the one "
        "before.",
        nothing, ask=_hint, json=True, prompt=True,
        examples=(("calico-mn hint", "the next one"),)),
    Verb(
        "solution", Group.EXERCISES, "what is wrong, and how it is found and mended",
        "Prints what 'break' broke, the commands that find it and those that mend it. It changes "
        "nothing without --repair.",
        _add_solution, ask=_solution, json=True, prompt=True,
        status="1: with --repair something else is not as it should be",
        examples=(("calico-mn solution", "the cause"),
                  ("calico-mn solution --repair", "and all is as before"))),
    Verb(
        "walkthrough", Group.LEARNING, "an article about Calico, typed again, line by line",
        "Replays an article about Calico's network on a cluster of its own: each "
        "command, what it prints here, the line that the article shows, and whether they agree "
        "apart from named differences. Where the article is wrong, it shows that, too. The "
        "cluster ends with the walkthrough.",
        _add_walkthrough, run=_walkthrough, json=True, root=lambda options: not options.list,
        examples=(("calico-mn walkthrough", "all of it, some five seconds"),
                  ("calico-mn walkthrough --lang zh", "explained in Chinese"),
                  ("calico-mn walkthrough --chapter 4 --pause", "one chapter, step by step")),
        status="0 all that must match did, 1 a line or a check did not"),
)

"""``break``, ``hint``, ``solution``: exercises in a running cluster."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from calico_mn.cli.output import paint, say
from calico_mn.cli.verb import OK, Verb, nothing, whole
from calico_mn.errors import FAILED, NotFoundError
from calico_mn.text import plural, wrap

if TYPE_CHECKING:
    from calico_mn.control.session import Session

GROUP = "exercises"

_WIDTH = 80


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


VERBS = {
    "break": Verb(
        "break", GROUP, "break something, for an exercise",
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
    "hint": Verb(
        "hint", GROUP, "the next hint for the exercise under way",
        "Prints the next hint for the exercise that 'break' began; each says more than the one "
        "before.",
        nothing, ask=_hint, json=True, prompt=True,
        examples=(("calico-mn hint", "the next one"),)),
    "solution": Verb(
        "solution", GROUP, "what is wrong, and how it is found and mended",
        "Prints what 'break' broke, the commands that find it and those that mend it. It changes "
        "nothing without --repair.",
        _add_solution, ask=_solution, json=True, prompt=True,
        status="1: with --repair something else is not as it should be",
        examples=(("calico-mn solution", "the cause"),
                  ("calico-mn solution --repair", "and all is as before"))),
}

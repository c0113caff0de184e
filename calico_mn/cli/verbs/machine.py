"""``check``: what this kernel and machine can do."""

from __future__ import annotations

import argparse
import dataclasses

from calico_mn.cli.output import paint, print_json, say
from calico_mn.cli.verb import FAILED, OK, Verb, nothing
from calico_mn.cli.verbs.files import GROUP

_MARKS = {True: ("ok", "good"), False: ("no", "bad"), None: ("?", "warn")}


def _check(options: argparse.Namespace) -> int:
    from calico_mn.kernel import probe

    found = probe.findings()
    wanting = [one for one in found if one.needed and one.ok is False]
    if options.json:
        print_json({"able": not wanting, "findings": [dataclasses.asdict(f) for f in found]})
        return FAILED if wanting else OK
    width = max(len(one.name) for one in found)
    for one in found:
        mark, style = ("-", "warn") if one.ok is False and not one.needed else _MARKS[one.ok]
        purpose = f" (for {one.purpose})" if one.purpose and one.ok is not True else ""
        say(f"{paint(f'{mark:2}', style)}  {one.name:{width}}  {one.detail}{purpose}")
        if one.remedy:
            say(f"    {'':{width}}  -> {one.remedy}")
    say("this machine cannot run clusters yet: see 'no' above" if wanting
        else "this machine can run clusters" if all(one.ok is not None for one in found
                                                     if one.needed)
        else "nothing is known to be missing; as root more can be told")
    return FAILED if wanting else OK


VERBS = {
    "check": Verb(
        "check", GROUP, "what this kernel and machine can do, and what to install",
        "Looks for all that clusters and experiments need: tunl0 by the ipip module or by eBPF, "
        "shaping of links, packet filters, programs and their versions. Changes nothing and loads "
        "no module. Without root it cannot try eBPF.",
        nothing, run=_check, json=True,
        status="0 clusters can run here, 1 something needed is missing"),
}

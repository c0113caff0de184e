"""``web``: the live page of a run, for a browser on this machine."""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress

from calico_mn.cli.complete import RUNS, completes
from calico_mn.cli.output import say
from calico_mn.cli.verb import OK, UsageError, Verb, add_run, named, whole
from calico_mn.cli.verbs.show import GROUP
from calico_mn.errors import ClusterError


def _add_web(parser: argparse.ArgumentParser) -> None:
    completes(parser.add_argument("of", metavar="RUN", nargs="?", type=named,
                                  help="name or identity; not needed while there is just one run"),
              RUNS)
    add_run(parser)
    parser.add_argument("--port", type=whole, default=0, metavar="N",
                        help="on 127.0.0.1 (default: any free one)")
    parser.add_argument("--control", action="store_true",
                        help="let the page change the run: modes, links, repair")


def _web(options: argparse.Namespace) -> int:
    if not 0 <= options.port < 65536:
        raise UsageError(f"calico-mn web: a port is 1 to 65535, not {options.port}")
    from calico_mn.control.session import remote
    from calico_mn.web.server import LiveServer

    session = remote(options.of or options.run)
    try:
        server = LiveServer(session, options.port, control=options.control)
    except OSError as error:
        raise ClusterError(f"port {options.port} of 127.0.0.1 cannot be had: {error.strerror};"
                           " name another by --port, or none") from None
    say(server.url)
    say("Open it in a browser on this machine; Ctrl-C ends it."
        + ("" if options.control else " It only shows: --control adds buttons."))
    sys.stdout.flush()
    with suppress(KeyboardInterrupt):
        server.serve()
    return OK


VERBS = {
    "web": Verb(
        "web", GROUP, "a live page of the cluster in a browser",
        "Serves a page on 127.0.0.1 that draws the cluster, follows every change, and plays traces "
        "step by step. Its address has a token, without which nothing is shown (docs/web.md).",
        _add_web, run=_web, root=True,
        examples=(("calico-mn web", "the only run, read-only"),
                  ("calico-mn web mine --port 8080 --control", "with buttons that change it"))),
}

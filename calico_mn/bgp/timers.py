"""BIRD's timers: Calico's, short ones, or as asked for by name. Pure.

In go words such as ``short,hold=30``; out come :class:`Timers`, which
:mod:`calico_mn.bgp.bird` writes into each BIRD's configuration. BIRD 2 takes whole seconds for all
but BFD, and lets a timer of BGP end up to a quarter early (``bgp_start_timer`` in its
``proto/bgp/bgp.c``), so that the least connect delay is 0.75 to 1 s.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace

from calico_mn.errors import ClusterError
from calico_mn.text import join, number, suggest

#: a session ends when so many BFD packets in a row do not come (RFC 5880 §6.8.4)
BFD_MULTIPLIER = 3


@dataclass(frozen=True, slots=True)
class Timers:
    """Seconds, by default Calico's (``bird.cfg.template``), and BIRD's own where that names none.

    - ``connect_delay``: from a start, or from the end of a session, to a connection
    - ``connect_retry``: how long a connection may take until another one is tried
    - ``error_wait``, ``error_wait_most``: after an error, at first, and after several
    - ``hold``: how long a peer may be silent; keepalives come after a third of it
    - ``graceful_restart``: how long peers keep the routes of a BIRD that died
    - ``restart_wait``: how long a BIRD that comes back waits for its peers until it writes routes
    - ``scan``: between two looks at the kernel's routes and devices
    - ``bfd``: milliseconds between two BFD packets, 0 without BFD. When three do not come, the
      session and its routes are gone: ``graceful_restart`` has no effect then.
    """

    connect_delay: int = 2
    connect_retry: int = 5
    error_wait: int = 5
    error_wait_most: int = 30
    hold: int = 240
    graceful_restart: int = 120
    restart_wait: int = 240
    scan: int = 2
    bfd: int = 0

    def __str__(self) -> str:
        """In the fewest words that :func:`read_timers` takes, such as ``short,bfd=300``.

        Of Calico's only what differs from them; empty where nothing does.
        """
        def words(usual: Timers, *first: str) -> list[str]:
            before = asdict(usual)
            return [*first, *(f"{name.replace('_', '-')}={value}"
                              for name, value in asdict(self).items() if value != before[name])]

        calico, short = words(CALICO), words(SHORT, "short")
        return ",".join(calico if len(calico) <= len(short) else short)

    @property
    def words(self) -> str:
        """Those that a person waits for: ``hold 9 s, connect delay 1 s, ...``."""
        return (f"hold {self.hold} s, connect delay {self.connect_delay} s, graceful restart"
                f" {self.graceful_restart} s"
                + (f", BFD {self.bfd} ms x {BFD_MULTIPLIER}" if self.bfd else ""))

    @property
    def silence(self) -> tuple[float, float]:
        """Seconds until a session with a peer that fell silent ends, at the least and at the most.

        The last keepalive is up to a third of the hold time old (RFC 4271 §10), and BIRD may end
        that a quarter early; with BFD the last packet is up to one interval old.
        """
        if self.bfd:
            return (BFD_MULTIPLIER - 1) * self.bfd / 1000, BFD_MULTIPLIER * self.bfd / 1000
        return self.hold * (0.75 - 1 / 3), self.hold

    @property
    def silence_in_words(self) -> str:
        """``3.75 to 9 s``."""
        return " to ".join(number(seconds, zeros=False) for seconds in self.silence) + " s"


CALICO = Timers()
#: where the end of a timer is to be seen; in a mesh of 80 nodes keepalives take half a processor
SHORT = Timers(connect_delay=1, connect_retry=1, error_wait=1, error_wait_most=2, hold=9,
               graceful_restart=10, restart_wait=10)
SETS = {"calico": CALICO, "short": SHORT}

# What BIRD takes, by its grammar (config.Y of each protocol); it makes 1 of a connect delay of 0.
_RANGES = {"hold": (3, 65535), "bfd": (0, 10_000), "graceful-restart": (0, 4095),
           "restart-wait": (0, 3600)}
_RANGE = (1, 3600)


def read_timers(text: str) -> Timers:
    """``calico``, ``short``, or timers by name after such a word: ``hold=9``, ``short,bfd=300``.

    What is not named is Calico's. Raises ClusterError.
    """
    first, *others = words = [word.strip() for word in text.split(",")]
    timers = SETS.get(first, CALICO)
    known = [name.replace("_", "-") for name in asdict(CALICO)]
    for word in others if first in SETS else words:
        name, _, value = word.partition("=")
        if name not in known:
            close = suggest(name, [*known, *SETS])
            hint = f"; did you mean {close}?" if close else ""
            raise ClusterError(f"BIRD has no timer {name!r} (timers: {join(known)}; before them"
                               f" {join(list(SETS), 'or')}){hint}")
        least, most = _RANGES.get(name, _RANGE)
        number = int(value) if re.fullmatch("[0-9]{1,5}", value) else -1
        if not least <= number <= most:
            unit = "milliseconds" if name == "bfd" else "seconds"
            raise ClusterError(f"{word!r}: {name} is a whole number of {unit} from {least} to"
                               f" {most}")
        timers = replace(timers, **{name.replace("-", "_"): number})
    if timers.error_wait > timers.error_wait_most:
        raise ClusterError(f"{text!r}: error-wait {timers.error_wait} is more than error-wait-most"
                           f" {timers.error_wait_most}")
    return timers

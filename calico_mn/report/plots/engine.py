"""matplotlib, loaded when the first picture is drawn, in our style, leaving no trace.

Neither the user's settings nor the home directory matter to what is drawn here, and nothing of
either is changed.
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

FONT = "DejaVu Sans"
_STYLE = {"font.family": "sans-serif", "font.sans-serif": [FONT], "svg.fonttype": "none",
          "text.parse_math": False, "hatch.linewidth": 0.8, "axes.unicode_minus": True}

P = ParamSpec("P")
R = TypeVar("R")


@functools.cache
def load() -> Any:
    """matplotlib, whose caches stay out of the user's home unless MPLCONFIGDIR says where.

    Its first import makes ~/.config/matplotlib and ~/.cache/matplotlib, which would belong to
    root in a home that may be another user's.
    """
    if os.environ.get("MPLCONFIGDIR"):
        return _import()
    with tempfile.TemporaryDirectory(prefix="calico-mn-") as directory:
        os.environ["MPLCONFIGDIR"] = directory
        try:
            return _import()
        finally:
            del os.environ["MPLCONFIGDIR"]


def _import() -> Any:
    import matplotlib
    import matplotlib.backends.backend_agg
    import matplotlib.backends.backend_svg
    import matplotlib.figure
    return matplotlib


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Draw in our style, whatever matplotlibrc says, and leave matplotlib's settings alone."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        matplotlib = load()
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_STYLE)
            return draw(*args, **kwargs)

    return drawn

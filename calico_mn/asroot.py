"""The command to type where root is needed, ready to paste into a shell.

Imports nothing outside the standard library, and runs on Pythons that are too old for the rest.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

_RUN, _POOL = "CALICO_MN_RUN", "CALICO_IPV4POOL_"


def command(words: Sequence[str], environment: Mapping[str, str]) -> str:
    """``sudo WORDS``, quoted; with the variables that mean something to us, which sudo drops."""
    kept = [f"{name}={value}" for name, value in sorted(environment.items())
            if (name == _RUN or name.startswith(_POOL)) and value]
    return " ".join(map(quoted, ["sudo", *(["env", *kept] if kept else []), *words]))


def quoted(word: str) -> str:
    """A word for the shell, on one line: control characters as bash, zsh and ksh spell them."""
    if word.isprintable():
        return shlex.quote(word)
    shown = "".join(
        "\\" + one if one in "\\'" else one if one.isprintable() else
        "".join(f"\\x{byte:02x}" for byte in one.encode("utf-8", "surrogateescape"))
        for one in word)
    return f"$'{shown}'"

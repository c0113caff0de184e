"""What argparse leaves open: messages safe to print, and ``--option=--``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from calico_mn.text import message, one_line


class Parser(argparse.ArgumentParser):
    """An ArgumentParser for words that anybody may type."""

    def parse_known_args(self, args: Sequence[str] | None = None,  # type: ignore[override]
                         namespace: Any = None) -> tuple[Any, list[str]]:
        """Before Python 3.13, ``--option=--`` is taken for the option without its argument."""
        words = list(sys.argv[1:] if args is None else args)
        for word in words:
            option, _, value = word.partition("=")
            if value == "--" and option in self._option_string_actions:
                self.error(f"argument {option}: expected one argument")
        return super().parse_known_args(words, namespace)

    def error(self, text: str) -> NoReturn:
        """As argparse does it, whatever the words hold that it repeats."""
        super().error(message(one_line(text)))

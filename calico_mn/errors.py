"""The exception tree: each error says what is wrong, where, and what to do.

Nothing here does I/O. A command-line program prints ``str(error)`` and exits with a status
other than 0; a traceback never reaches the user for a mistake of theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from calico_mn.text import plural


class CalicoMnError(Exception):
    """Base of every error that this package raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a topology file.

    ``line`` and ``column`` count from 1; 0 means that the problem has no place in the file
    (an environment variable, for example). ``source_line`` is the offending line as written.
    """

    what: str
    file: str = ""
    line: int = 0
    column: int = 0
    source_line: str = ""
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}: " if self.line else (
            f"{self.file}: " if self.file else "")
        text = f"{place}{self.what}"
        if self.source_line:
            text += f"\n    {self.source_line.rstrip()}"
            if self.column:
                text += f"\n    {' ' * (self.column - 1)}^"
        if self.hint:
            text += f"\n    {self.hint}"
        return text


class TopologyError(CalicoMnError):
    """A topology cannot be used; carries *all* of its problems, in file order.

    ``warnings`` are sentences about what else the file says and has no effect.
    """

    def __init__(self, problems: Sequence[Problem], warnings: Sequence[str] = ()) -> None:
        self.problems = tuple(problems)
        self.warnings = tuple(warnings)
        summary = plural(len(self.problems), "problem")
        super().__init__("\n".join([*(str(p) for p in self.problems), f"{summary} found"]))

    def __reduce__(self) -> tuple[object, ...]:
        """For pickle, which would otherwise make it of its text."""
        return type(self), (self.problems, self.warnings)


class IPAMError(CalicoMnError):
    """No address can be given: the pools are exhausted, or the one asked for is taken.

    ``reason`` is why, without whom the address would be for.
    """

    def __init__(self, text: str, reason: str = "") -> None:
        super().__init__(text)
        self.reason = reason or text


class KernelError(CalicoMnError):
    """The kernel refused a change: names the namespace, the change, and the kernel's reason."""


class UnsupportedError(CalicoMnError):
    """This kernel or machine cannot do what was asked; says what would make it possible."""


class ToolError(CalicoMnError):
    """An external program is missing, hung, or answered something unreadable."""


class ClusterError(CalicoMnError):
    """A request that the running cluster cannot fulfil, such as deleting an unknown pod."""


class NotFoundError(ClusterError):
    """What a request is about is not there: no such run, or no such node in it."""


#: exit statuses of a program of ours: it failed; the request is wrong; what it is about is missing
FAILED, WRONG_REQUEST, NOT_FOUND = 1, 2, 3


def exit_code(error: CalicoMnError) -> int:
    """The exit status of a program that ends with ``error``."""
    if isinstance(error, NotFoundError):
        return NOT_FOUND
    return FAILED if isinstance(error, (KernelError, ToolError, UnsupportedError)) else (
        WRONG_REQUEST)

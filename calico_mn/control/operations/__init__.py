"""What can be asked of a running cluster: one function an operation, in a module per subject.

An operation gets a :class:`Job` and the request's arguments, and gives what JSON can hold. It
runs while nobody else works on the cluster. To add one, write a function here with
:func:`operation` over it and name its module in ``_MODULES``.
"""

from __future__ import annotations

import importlib
import inspect
import reprlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from calico_mn.errors import ClusterError, NotFoundError

if TYPE_CHECKING:
    from calico_mn.emulation.net import CalicoNet
    from calico_mn.emulation.node import NamespaceNode

_MODULES = ("tables", "places", "change", "traffic", "trace", "graph", "verify")


def _nobody(_message: object) -> None:
    """Progress that nobody wants to hear of."""


@dataclass
class Job:
    """One request at work: the cluster, and the ways back besides the result.

    ``progress`` tells the asker how far it is, and raises when the work is in vain.
    ``descriptors`` go along with the result and are closed here afterwards; ``then`` is called
    when the asker has the result. ``turn`` is for operations that go on while others work on
    the cluster: they do so themselves only inside ``with job.turn():``.
    """

    net: CalicoNet
    progress: Callable[[object], None] = _nobody
    descriptors: list[int] = field(default_factory=list)
    then: Callable[[], None] | None = None
    turn: Callable[[], AbstractContextManager[None]] = nullcontext

    def place(self, name: str) -> NamespaceNode:
        """A node, pod, router or subnet. Raises NotFoundError with names that are alike."""
        if name in self.net:
            return self.net[name]
        raise NotFoundError(f"there is no node, pod, router or subnet {name!r}{_alike(name, self)}")


Operation = Callable[..., Any]
_Function = TypeVar("_Function", bound=Operation)
_operations: dict[str, Operation] = {}
_in_company: set[str] = set()


def _is_text(value: object) -> bool:
    return isinstance(value, str)


#: an argument's annotation -> whether a value that came as JSON is one
KINDS: Mapping[str, Callable[[object], bool]] = {
    "str": _is_text,
    "str | None": lambda value: value is None or _is_text(value),
    "bool": lambda value: isinstance(value, bool),
    "list[str] | None": lambda value: value is None or (
        isinstance(value, list) and all(map(_is_text, value))),
    "dict[str, Any] | None": lambda value: value is None or isinstance(value, dict),
}


def operation(name: str, *, alone: bool = True) -> Callable[[_Function], _Function]:
    """Make a function an operation of that name.

    Not ``alone``: it takes long, and takes its turns among others by ``job.turn``.
    """

    def remember(function: _Function) -> _Function:
        _operations[name] = function
        if not alone:
            _in_company.add(name)
        return function

    return remember


def is_alone(verb: str) -> bool:
    """Whether nobody else may work on the cluster while this operation is at work."""
    _load()
    return verb not in _in_company


def _load() -> None:
    for module in _MODULES:
        importlib.import_module(f"{__name__}.{module}")


def perform(verb: str, job: Job, arguments: Mapping[str, Any]) -> Any:
    """Do it. Raises ClusterError for an unknown operation or wrong arguments."""
    _load()
    function = _operations.get(verb)
    if function is None:
        raise ClusterError(f"this run does not know {verb!r}: it was started by another version?")
    try:
        signature = inspect.signature(function)
        signature.bind(job, **arguments)
    except TypeError as wrong:
        raise ClusterError(f"{verb}: {wrong}") from None
    for name, value in arguments.items():
        kind = str(signature.parameters[name].annotation)
        if not KINDS[kind](value):
            raise ClusterError(f"{verb}: {name} is {kind}, not {reprlib.repr(value)}")
    return function(job, **arguments)


def _alike(name: str, job: Job) -> str:
    import difflib

    bare = [key for key in job.net if key.partition("/")[2] == name]
    if len(bare) > 1:
        return f": say which of {', '.join(bare)}"
    close = difflib.get_close_matches(name, list(job.net), 1)
    return f"; did you mean {close[0]}?" if close else ""

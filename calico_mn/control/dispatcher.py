"""Operations on a running cluster: their registry, and the lock under which they run.

    a verb's name and arguments --> Dispatcher.perform --> one operation, a function --> JSON

Requests of other processes and the commands of Mininet's prompt both come here, and run one after
the other. An operation gets a :class:`Job` and the request's arguments, and returns JSON-compatible
values. To add one, write a function with :func:`operation` over it in one of ``_MODULES``.
"""

from __future__ import annotations

import importlib
import inspect
import reprlib
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from calico_mn.errors import CalicoMnError, ClusterError, NotFoundError, ToolError
from calico_mn.text import suggest_place

if TYPE_CHECKING:
    from calico_mn.emulation.node import NamespaceNode
    from calico_mn.net import CalicoNet

#: modules with operations; imported with the first request, because they need the whole emulation
_MODULES = ("queries", "resources", "changes", "traffic", "verification")
#: how long an operation waits for another one, in seconds
_PATIENCE_S = 60.0
#: how long the end of a run waits for the operation in progress
_LAST_PATIENCE_S = 10.0


def ignore(_message: object) -> None:
    """Progress that is not shown."""


@dataclass
class Job:
    """One request in progress: the cluster, and what is returned besides the result.

    ``progress`` reports to the caller how far the work is, and raises when the caller is gone.
    ``descriptors`` go along with the result and are closed here afterwards; ``on_reply`` is called
    when the caller has the result. An operation that is not ``exclusive`` runs beside others, and
    works on the cluster only inside ``with job.lock():``.
    """

    net: CalicoNet
    progress: Callable[[object], None] = ignore
    descriptors: list[int] = field(default_factory=list)
    on_reply: Callable[[], None] | None = None
    lock: Callable[[], AbstractContextManager[None]] = nullcontext

    def node(self, name: str) -> NamespaceNode:
        """A node, pod, router or subnet. Raises NotFoundError that names similar ones."""
        if name in self.net:
            return self.net[name]
        pods = [key for key in self.net if key.partition("/")[2] == name]
        similar = suggest_place(name, self.net)
        hint = (f": say which of {', '.join(pods)}" if len(pods) > 1 else
                f"; did you mean {similar}?" if similar else "")
        raise NotFoundError(f"there is no node, pod, router or subnet {name!r}{hint}")

    def names(self, nodes: list[str] | None) -> list[str] | None:
        """Full names, or None for all. Raises NotFoundError."""
        return [self.node(name).name for name in nodes] if nodes else None

    def pod(self, name: str) -> str:
        """The full name of a pod, ``[NAMESPACE/]NAME``, that runs or waits. Raises NotFoundError.
        """
        cluster, key = self.net.cluster, name if "/" in name else f"default/{name}"
        if key not in cluster.admission.waiting:
            key = self.node(name).name
            if key not in cluster.endpoints:
                raise NotFoundError(f"{name} is not a pod")
        return key

    def require_node(self, name: str, why: str = "") -> None:
        """Raises NotFoundError unless ``name`` is one of the cluster's nodes."""
        if name not in self.net.cluster.nodes:
            self.node(name)
            raise NotFoundError(f"{name} is not a node{why}")


Operation = Callable[..., Any]
_Function = TypeVar("_Function", bound=Operation)
_operations: dict[str, Operation] = {}
_concurrent: set[str] = set()


#: an argument's annotation -> whether a value that came as JSON is one
KINDS: Mapping[str, Callable[[object], bool]] = {
    "str": lambda value: isinstance(value, str),
    "str | None": lambda value: value is None or isinstance(value, str),
    "int": lambda value: type(value) is int,
    "bool": lambda value: isinstance(value, bool),
    "int | None": lambda value: value is None or type(value) is int,
    "bool | None": lambda value: value is None or isinstance(value, bool),
    "list[str] | None": lambda value: value is None or (
        isinstance(value, list) and all(isinstance(item, str) for item in value)),
    "dict[str, str] | None": lambda value: value is None or (
        isinstance(value, dict) and all(isinstance(item, str) for item in value.values())),
    "dict[str, Any] | None": lambda value: value is None or isinstance(value, dict),
}


def operation(name: str, *, exclusive: bool = True) -> Callable[[_Function], _Function]:
    """Make a function an operation of that name.

    One that is not ``exclusive`` takes long, and takes the lock itself by ``job.lock``.
    """

    def register(function: _Function) -> _Function:
        _operations[name] = function
        if not exclusive:
            _concurrent.add(name)
        return function

    return register


def load() -> None:
    """Import every operation."""
    for module in _MODULES:
        importlib.import_module(f"calico_mn.control.{module}")


def _operation(verb: str, job: Job, arguments: Mapping[str, Any]) -> Operation:
    """A verb's function. Raises ClusterError for an unknown one and for wrong arguments."""
    load()
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
    return function


class Dispatcher:
    """A cluster, and the lock under which all work on it is done."""

    def __init__(self, net: CalicoNet) -> None:
        self.net = net
        self._lock = threading.RLock()
        self._closing = False

    def perform(self, verb: str, job: Job, arguments: Mapping[str, Any]) -> Any:
        """Run one operation. Raises what it raises, and ToolError when others take too long."""
        function = _operation(verb, job, arguments)
        job.progress = self._unless_closing(job.progress)
        if verb in _concurrent:
            job.lock = self._exclusively
            return function(job, **arguments)
        with self._exclusively():
            return function(job, **arguments)

    @contextmanager
    def _exclusively(self) -> Iterator[None]:
        if not self._lock.acquire(timeout=_PATIENCE_S):
            raise ToolError(f"the run was busy with something else for {_PATIENCE_S:g} s")
        try:
            self._refuse_when_closing()
            yield
        finally:
            self._lock.release()

    @contextmanager
    def closing(self) -> Iterator[None]:
        """Refuse further operations, and wait a while for the one in progress."""
        self._closing = True
        is_held = self._lock.acquire(timeout=_LAST_PATIENCE_S)
        try:
            yield
        finally:
            if is_held:
                self._lock.release()

    def _unless_closing(self, progress: Callable[[object], None]) -> Callable[[object], None]:
        def report(message: object) -> None:
            self._refuse_when_closing()
            progress(message)
        return report

    def _refuse_when_closing(self) -> None:
        if self._closing:
            raise CalicoMnError("the run is ending")

"""What the instruments ask of a cluster, be it emulated or real: places, modes and the wire.

CalicoNet is one, and a :class:`calico_mn.kubernetes.cluster.RealCluster` is another, so that one
method measures both.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Protocol

from calico_mn.calico.encapsulation import Encapsulation
from calico_mn.kernel.capture import Frame
from calico_mn.packetmatch import CaptureFilter


class Frames(Protocol):
    """A capture, open as a context manager.

    A frame can be read ``lag_s`` seconds after it was on the wire, or earlier.
    """

    @property
    def lag_s(self) -> float:
        """0 for a capture of this machine."""

    def read(self) -> list[Frame]:
        """The frames since the last call, without waiting."""

    def __enter__(self) -> Any:
        """The capture."""

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        """Stop capturing."""


class Net(Protocol):
    """A running cluster."""

    @property
    def tunnel(self) -> str:
        """What makes the tunnel devices: a back end's name."""

    def __getitem__(self, name: str) -> Any:
        """The node or pod of that name, in which programs run; a pod has an ``ip``."""

    def set_mode(self, mode: str, *, encapsulation: Encapsulation | None = None) -> object:
        """Set the pools' mode, and return when it is in effect."""

    def set_pod_routes(self, enabled: bool) -> object:
        """Give the routers between nodes routes to the pods' blocks."""

    def capture(self, node: str, device: str, wanted: CaptureFilter) -> Frames | None:
        """Frames that match on a node's device; None where that is not permitted."""

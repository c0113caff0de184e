"""What a person asks for of a measurement on a real cluster. Pure."""

from __future__ import annotations

from dataclasses import dataclass

#: seconds that a mode change gets where no wire is watched
SETTLE_S = 10.0


@dataclass(frozen=True, slots=True)
class Settings:
    """Names of the context, None for the current one, of the namespace, empty for one of its own,
    and of the pods' image; what may be done; ``settle`` as :data:`SETTLE_S`.
    """

    context: str | None = None
    namespace: str = ""
    image: str = ""
    allow_mode_change: bool = False
    allow_host_capture: bool = False
    settle: float = SETTLE_S

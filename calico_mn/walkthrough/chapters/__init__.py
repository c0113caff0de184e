"""The story: its chapters in their order. Data only."""

from __future__ import annotations

from calico_mn.walkthrough.chapters import modes, pod, tunnel
from calico_mn.walkthrough.step import Chapter

CHAPTERS: tuple[Chapter, ...] = (
    pod.CABLE, tunnel.TUNNEL, pod.INSIDE, pod.GATEWAY, tunnel.MTU, tunnel.AUTOMATIC, modes.MODES,
    modes.SUBNETS)

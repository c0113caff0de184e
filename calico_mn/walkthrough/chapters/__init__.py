"""The story: its chapters in their order. Data only, a module per chapter."""

from __future__ import annotations

from calico_mn.walkthrough.chapters import (
    cable,
    gateway,
    modes,
    mtu,
    pod,
    sized,
    subnets,
    tunnel,
)
from calico_mn.walkthrough.step import Chapter

CHAPTERS: tuple[Chapter, ...] = (
    cable.CHAPTER, tunnel.CHAPTER, pod.CHAPTER, gateway.CHAPTER, mtu.CHAPTER, sized.CHAPTER,
    modes.CHAPTER, subnets.CHAPTER)

"""Where a packet was dropped, and why: from its last sighting and from evidence. Pure.

What counts as evidence: captures, the kernel's answer to a route lookup with the packet's own
addresses and device, the namespace's counters before and after, ICMP errors, and what differs from
the wanted state on the packet's path. :mod:`.causes` has the table of causes; a cause that follows
from none of the evidence is marked as deduced, or unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from calico_mn.kernel.route_get import Answer
from calico_mn.trace.causes import checks
from calico_mn.trace.path_trace import (
    REPLY,
    Crossing,
    DropReason,
    Hop,
    Leg,
    Neighbour,
    Routing,
    Translation,
)
from calico_mn.trace.recording import Recording
from calico_mn.trace.scene import BLACKHOLE, NO_ROUTE, TTL, UNREACHABLE, Ask, Scene

#: what comes of a route that was not learned
_WITHOUT_ROUTE = (NO_ROUTE, BLACKHOLE, UNREACHABLE, TTL)


def drop_reason(legs: Sequence[Leg], errors: Sequence[Leg], recording: Recording, ask: Ask
                ) -> DropReason:
    """Why the last one of ``legs`` did not arrive. ``ask`` makes a route lookup in a namespace."""
    leg = legs[-1]
    scene = Scene(leg, errors, recording, ask)
    finding = next(item for check in checks(scene) if (item := check(scene)) is not None)
    reason = finding.reason
    if recording.unlearned and finding.cause in _WITHOUT_ROUTE:
        reason += f"; {recording.unlearned}"
    evidence = [_last_sighting(scene)]
    if scene.crossing is None and leg.kind != REPLY and recording.refused:
        evidence.append(f"send() in {scene.namespace} failed with {recording.refused}")
    evidence += finding.evidence
    evidence += [f"NAT in {hop.namespace} changed it: {step}" for item in legs for hop in item.hops
                 for step in hop.steps if isinstance(step, Translation)]
    evidence += [f"{hop.namespace} sent it by {device} and not by {answer.device}: its policy rule"
                 f" '{answer.skipped}' asks for more than addresses and device"
                 for hop in leg.hops for device, answer in _other_ways(hop)]
    evidence += [f"{error.text}, sent by {error.sender} ({error.origin})"
                 for error in errors if error.origin == scene.namespace]
    evidence += [text for name, delta in scene.counters.items() if (
        text := f"counter {name} of {scene.namespace} rose by {delta}") not in evidence]
    evidence += [f"not as it should be: {text}" for text in recording.differences]
    return DropReason(leg.kind, finding.cause, finding.namespace or scene.namespace,
                      scene.crossing.device if scene.crossing else "", finding.by, reason,
                      tuple(evidence), finding.deduced)


def _other_ways(hop: Hop) -> Iterator[tuple[str, Answer]]:
    """Where a host's packet left by another device than its route says, past a skipped rule."""
    for step, following in pairwise(hop.steps):
        if isinstance(step, Routing) and isinstance(following, Neighbour | Crossing) and (
                step.answer.skipped and following.device != step.answer.device):
            yield following.device, step.answer


def _last_sighting(scene: Scene) -> str:
    if scene.crossing is not None:
        verb = "leave by" if scene.leaving else "come in by"
        return (f"captures saw it {verb} {scene.crossing.device} of {scene.namespace}, and at no"
                " device after that")
    if scene.leg.kind == REPLY and scene.facts.owns(scene.leg.sender):
        return f"captures saw the request arrive at {scene.namespace}, and no answer leave"
    return "no capture saw it on any device"

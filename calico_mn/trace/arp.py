"""Who answered ARP, or that nobody had to be asked. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from calico_mn.kernel.sniffer import TO_OTHERS
from calico_mn.trace.follow import ArpSighting
from calico_mn.trace.path_trace import Neighbour
from calico_mn.trace.recording import SWITCH, Recording

_QUESTION, _ANSWER = 1, 2


def neighbour(recording: Recording, arp: Sequence[ArpSighting], namespace: str, device: str,
              address: str, used: str = "", before: int | None = None) -> Neighbour:
    """How ``namespace`` knew, or did not, the MAC address of ``address`` on ``device``.

    ``used`` is the MAC address that the frame carried; ``before`` its time: what was asked later
    was not asked for it.
    """
    asked = [one for one in arp if one.namespace == namespace and one.frame.device == device
             and one.frame.outgoing and one.arp.operation == _QUESTION
             and one.arp.target == address and (before is None or one.frame.time <= before)]
    known = recording.after[namespace].neighbour(device, address)
    earlier = recording.before[namespace].neighbour(device, address)
    shown = (known if asked else earlier) or known
    mac = used or (shown.mac if shown else "")
    state = shown.state if shown else ""
    if not asked:
        return Neighbour(device, address, mac, state)
    begun = asked[0].frame.time
    answer = next((one for one in arp if one.arp.operation == _ANSWER and one.frame.outgoing
                   and one.arp.sender == address and one.frame.time >= begun
                   and one.arp.target == asked[0].arp.sender
                   and recording.kinds[one.namespace] != SWITCH), None)
    by = (answer.namespace, answer.frame.device) if answer else None
    heard = dict.fromkeys(
        one.namespace for one in arp
        if one.arp == asked[0].arp and not one.frame.outgoing and one.namespace != namespace
        and one.frame.kind != TO_OTHERS and recording.kinds[one.namespace] != SWITCH
        and not (by and one.namespace == by[0]))
    return Neighbour(device, address, mac, state, len(asked), asked[0].arp.sender, by,
                     by is not None and not recording.after[by[0]].owns(address), tuple(heard))


def is_unresolved(recording: Recording, found: Neighbour) -> bool:
    """Nobody has answered, or nobody was even asked in time."""
    return found.answered_by is None and (found.state in ("INCOMPLETE", "FAILED")
                                          or (found.asked > 0 and not found.mac))


def unanswered(arp: Sequence[ArpSighting], kinds: dict[str, str]) -> bool:
    """Whether a host is still waiting for an answer."""
    questions = {(one.arp.sender, one.arp.target) for one in arp
                 if one.arp.operation == _QUESTION and one.frame.outgoing
                 and kinds[one.namespace] != SWITCH}
    answers = {(one.arp.target, one.arp.sender) for one in arp if one.arp.operation == _ANSWER}
    return bool(questions - answers)

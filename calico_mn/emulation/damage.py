"""What a person broke in a namespace, in a few words, for the error that comes of it.

Only what commonly lies behind a refused change: devices that are gone or down, addresses that
are gone.
"""

from __future__ import annotations

from calico_mn.kernel.facts import Facts
from calico_mn.state import Namespace, Tunnel


def damage(found: Facts, wanted: Namespace) -> list[str]:
    """Each a clause such as "eth0 is down"; nothing where all that is looked at is well."""
    clauses = []
    for device in wanted.devices:
        there = found.device(device.name)
        if there is None:
            clauses.append(f"there is no device {device.name} any more")
        elif not there.up and (not isinstance(device, Tunnel) or device.up):
            clauses.append(f"{device.name} is down")
    gone = {device.name for device in wanted.devices if found.device(device.name) is None}
    clauses += [f"{address.device} has lost its address {address.address}"
                for address in wanted.addresses if address.device not in gone
                and (address.device, address.address) not in found.addresses]
    return clauses

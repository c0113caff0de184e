"""Version profiles: what differs between releases of Calico in the routes and devices of a node.

In goes a release, as ClusterInformation or ``--profile`` names it; out comes its :class:`Profile`.
All other code asks the profile and compares no versions. Pure.

Firewalls are no part of it: they follow Felix v3.25 in every profile.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# The values of programClusterRoutes, and of which pools the component then writes the routes
# (design/cluster-route-programming/DESIGN.md in Calico's source).
DISABLED, ENABLED = "Disabled", "Enabled"
ENABLED_IPIP_ONLY, ENABLED_NO_ENCAP_ONLY = "EnabledIPIPOnly", "EnabledNoEncapOnly"
PROGRAM_CLUSTER_ROUTES = (DISABLED, ENABLED, ENABLED_IPIP_ONLY, ENABLED_NO_ENCAP_ONLY)


@dataclass(frozen=True, slots=True)
class Profile:
    """The releases from ``since`` on, (major, minor), up to the next profile's.

    ``veth_queue`` is the queue length of a new pod's veth: Calico v3.26 began to make it with
    NewLinkAttrs, and the kernel's default (cni-plugin/pkg/dataplane/linux/dataplane_linux.go).
    ``pod_index`` is the index of eth0 in a pod after lo and tunl0: up to v3.26 the veth's other end
    was made there, too, and moved away (same file).
    ``metric`` is that of the routes to a node's own pods and of those that BGP brings, 0 for none
    (IPv4NormalRoutePriority in felix/config/config_params.go; bgp_processor.go in confd).
    ``vxlan_route_mtu``: routes over vxlan.calico have an MTU (felix/dataplane/linux/vxlan_mgr.go).
    ``felix`` and ``bird`` are the defaults of programClusterRoutes in FelixConfiguration and
    BGPConfiguration, ``values`` those that the release knows, none before the fields came.
    """

    name: str
    since: tuple[int, int]
    releases: str
    veth_queue: int = 0
    pod_index: int = 4
    metric: int = 0
    vxlan_route_mtu: bool = False
    felix: str = DISABLED
    bird: str = ENABLED
    values: tuple[str, ...] = ()


DEFAULT = Profile("v3.25", (0, 0), "<= v3.25")
PROFILES = (
    DEFAULT,
    Profile("v3.29", (3, 26), "v3.26 to v3.31", veth_queue=1000, pod_index=3),
    Profile("v3.32", (3, 32), "v3.32", veth_queue=1000, pod_index=3, metric=1024,
            vxlan_route_mtu=True, values=(DISABLED, ENABLED)),
    Profile("v3.33", (3, 33), ">= v3.33", veth_queue=1000, pod_index=3, metric=1024,
            vxlan_route_mtu=True, felix=ENABLED_IPIP_ONLY, bird=ENABLED_NO_ENCAP_ONLY,
            values=PROGRAM_CLUSTER_ROUTES),
)
NAMES = tuple(profile.name for profile in PROFILES)
#: the newest release whose sources were read for the profiles
_NEWEST = (3, 34)


def release(version: str) -> tuple[int, int] | None:
    """Major and minor number of a version such as ``v3.29.1``; None for another text."""
    match = re.match(r"v?(\d{1,4})\.(\d{1,4})(?!\d)", version)
    return (int(match[1]), int(match[2])) if match else None


def of_version(version: str) -> Profile:
    """The profile of a release, the default one for a text that is no version."""
    number = release(version) or (0, 0)
    return next(profile for profile in reversed(PROFILES) if profile.since <= number)


def doubt(version: str) -> str:
    """Why the profile of a version may not be right, for a sentence; empty if it is."""
    number = release(version)
    if version and number is None:
        return f"is no version of Calico: the cluster is like {DEFAULT.name}"
    if number and number > _NEWEST:
        return (f"is newer than v{_NEWEST[0]}.{_NEWEST[1]}: the cluster is like"
                f" {PROFILES[-1].name}")
    return ""

"""BIRD's answers as data: what BIRD 2.0.12 printed, line by line, and what is read from it."""

from ipaddress import IPv4Address, IPv4Network

import pytest

from calico_mn.bgp.birdc import BirdProtocol, Downtime, downtime, protocols, routes
from calico_mn.bgp.engine import BgpRoute

HEAD = "Name       Proto      Table      State  Since         Info"
LINES = {
    "up": ("Mesh_192_168_57_32 BGP        ---        up     03:08:57.842  Established   ",
           BirdProtocol("Mesh_192_168_57_32", "up", "03:08:57", "Established")),
    "waits": ("Mesh_192_168_57_32 BGP        ---        start  03:09:37.282  Passive       ",
              BirdProtocol("Mesh_192_168_57_32", "start", "03:09:37", "Passive")),
    "lost": ("Mesh_192_168_57_32 BGP        ---        start  03:08:58.175  Passive       Socket:"
             " Connection closed", BirdProtocol(
                 "Mesh_192_168_57_32", "start", "03:08:58", "Passive",
                 "Socket: Connection closed")),
    "wrong-as": ("Node_192_168_57_31 BGP        ---        start  03:12:00.932  Idle         "
                 " Received: Bad peer AS", BirdProtocol(
                     "Node_192_168_57_31", "start", "03:12:00", "Idle", "Received: Bad peer AS")),
    "no-port": ("Mesh_192_168_58_33 BGP        ---        down   03:09:07.185  Error: No listening"
                " socket", BirdProtocol("Mesh_192_168_58_33", "down", "03:09:07", "",
                                        "Error: No listening socket")),
    "switched-off": ("Mesh_192_168_58_33 BGP        ---        down   03:09:07.185  ",
                     BirdProtocol("Mesh_192_168_58_33", "down", "03:09:07")),
    "of-yesterday": ("Mesh_192_168_57_32 BGP        ---        up     2026-11-28    Established   ",
                     BirdProtocol("Mesh_192_168_57_32", "up", "2026-11-28", "Established")),
    "port": ("Node_192_168_57_32_port_1790 BGP  ---  up  2026-11-28 03:08:57  Established",
             BirdProtocol("Node_192_168_57_32_port_1790", "up", "2026-11-28 03:08:57",
                          "Established")),
}


@pytest.mark.parametrize("case", LINES)
def test_a_line_of_show_protocols(case):
    line, wanted = LINES[case]
    assert protocols([HEAD, "kernel1    Kernel     master4    up     03:08:56.177  ", line]) == {
        wanted.name: wanted}
    assert wanted.is_up == (case in ("up", "of-yesterday", "port"))


def test_what_bird_shows_itself_is_the_info():
    assert [protocols([line]).popitem()[1].info for line, _ in LINES.values()] == [
        "Established", "Passive", "Passive Socket: Connection closed", "Idle Received: Bad peer AS",
        "Error: No listening socket", "down", "Established", "Established"]


COUNTED = """\
Name       Proto      Table      State  Since         Info
static1    Static     master4    up     03:08:56.177  
  Channel ipv4
    Routes:         9 imported, 9 exported, 1 preferred

Mesh_192_168_57_32 BGP        ---        up     03:08:57.842  Established   
  BGP state:          Established
    Neighbor AS:      64512
    Session:          internal multihop AS4
  Channel ipv4
    State:          UP
    Routes:         3 imported, 2 exported, 1 preferred
    Route change stats:     received   rejected   filtered    ignored   accepted
      Import updates:              1          0          0          0          1
    BGP Next hop:   192.168.57.31

Node_192_168_58_33 BGP        ---        up     03:08:57.692  Established   
  Channel ipv4
    Routes:         7 imported, 1 filtered, 4 exported, 1 preferred

Node_192_168_58_34 BGP        ---        down   03:08:57.692  Error: No listening socket
  Channel ipv4
    State:          DOWN

kernel1    Kernel     master4    up     03:08:56.177  
    Routes:         2 imported, 3 exported, 2 preferred
"""  # noqa: W291


def test_the_numbers_of_routes_are_those_of_the_protocol_above():
    assert {name: (known.imported, known.exported)
            for name, known in protocols(COUNTED.splitlines()).items()} == {
        "Mesh_192_168_57_32": (3, 2), "Node_192_168_58_33": (7, 4), "Node_192_168_58_34": (0, 0)}


ROUTES = """\
Table master4:
0.0.0.0/0            unicast [kernel1 03:11:36.354] * (10)
	via 192.168.57.1 on eth0
	Type: inherit univ
	Kernel.source: 3
10.22.32.0/26        blackhole [static1 03:11:36.353] * (200)
	Type: static univ
10.22.31.0/26        unicast [Node_192_168_57_31 03:11:42.069] * (100) [i]
	via 192.168.57.31 on eth0
	Type: BGP univ
	BGP.origin: IGP
	BGP.as_path: 
	BGP.next_hop: 192.168.57.31
	BGP.local_pref: 100
10.22.33.0/26        unicast [Node_192_168_57_31 2026-11-28 from 192.168.57.31] * (100/?) [AS65033i]
	via 192.168.57.1 on eth0
	Type: BGP univ
	BGP.origin: IGP
	BGP.as_path: 65033 65001
	BGP.next_hop: 192.168.58.33
	BGP.local_pref: 100
	BGP.originator_id: 192.168.58.33
	BGP.cluster_list: 244.0.0.1 244.0.0.2
	BGP.community: (65000,1) (65000,2)
                     unreachable [Mesh_192_168_58_33 03:11:43.000] (100/-) [i]
	Type: BGP univ
	BGP.next_hop: 192.168.58.33
	BGP.local_pref: 50
"""  # noqa: W291


def address(text):
    return IPv4Address(text)


def test_paths_of_show_route_all_with_their_attributes():
    hop, reflector = address("192.168.58.33"), address("192.168.57.31")
    default, own, plain, reflected, second = routes(ROUTES.splitlines())
    assert default == BgpRoute(IPv4Network("0.0.0.0/0"), True, "kernel1", since="03:11:36")
    assert own == BgpRoute(IPv4Network("10.22.32.0/26"), True, "static1", since="03:11:36")
    assert own.is_own and not plain.is_own
    assert plain == BgpRoute(IPv4Network("10.22.31.0/26"), True, "Node_192_168_57_31", reflector,
                             reflector, (), 100, since="03:11:42")
    assert reflected == BgpRoute(
        IPv4Network("10.22.33.0/26"), True, "Node_192_168_57_31", reflector, hop, (65033, 65001),
        100, hop, (address("244.0.0.1"), address("244.0.0.2")), ("65000,1", "65000,2"),
        "2026-11-28")
    assert second == BgpRoute(IPv4Network("10.22.33.0/26"), False, "Mesh_192_168_58_33", hop, hop,
                              (), 50, since="03:11:43")


LOG = """\
2026-11-29 03:08:56.188 <TRACE> Mesh_192_168_57_31: State changed to start
2026-11-29 03:08:56.188 <INFO> Started
2026-11-29 03:08:57.692 <TRACE> Mesh_192_168_57_32: State changed to up
2026-11-29 03:08:58.175 <TRACE> Mesh_192_168_57_32: State changed to start
2026-11-29 03:11:54.818 <RMT> Mesh_192_168_57_32: Error: Bad peer AS: 65044
2026-11-29 03:11:54.818 <TRACE> Mesh_192_168_57_32: State changed to stop
2026-11-29 03:12:00.932 <TRACE> Mesh_192_168_57_32: State changed to start
2026-11-29 03:12:01.000 <RMT> Mesh_192_168_57_33: Received: Hold timer expired
"""
RESTART = """\
2026-11-29 03:20:00.188 <TRACE> Mesh_192_168_57_31: State changed to start
2026-11-29 03:20:00.188 <INFO> Started
2026-11-29 03:20:00.185 <ERR> Mesh_192_168_57_32: Socket error: bind: Address already in use
2026-11-29 03:20:00.185 <ERR> Mesh_192_168_57_32: Cannot open listening socket
"""


@pytest.mark.parametrize(("log", "protocol", "wanted", "text"), [
    (LOG, "Mesh_192_168_57_32", Downtime("03:08:58", True, "Error: Bad peer AS: 65044"),
     "down since 03:08:58"),
    (LOG, "Mesh_192_168_57_31", Downtime("03:08:56"), "never up since 03:08:56"),
    (LOG, "Mesh_192_168_57_33", Downtime("03:08:56", False, "Received: Hold timer expired"),
     "never up since 03:08:56"),
    (LOG + RESTART, "Mesh_192_168_57_32",
     Downtime("03:20:00", False, "Cannot open listening socket"), "never up since 03:20:00"),
    ("", "Mesh_192_168_57_32", Downtime(), ""),
], ids=["down", "never", "never-with-an-error", "restarted", "no-log"])
def test_a_log_tells_since_when_a_session_is_down(log, protocol, wanted, text):
    assert downtime(log.splitlines(), protocol) == wanted
    assert str(wanted) == text

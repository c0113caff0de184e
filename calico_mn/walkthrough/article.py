"""What the article's terminals show: the lines that are compared with real ones. Pure data.

The article is a Chinese walk-through of Calico's IPIP mode on two hosts, 192.168.57.31 and .32
(Calico up to v3.25). Its lines are quoted as they were printed, but for blanks at their ends.
What may differ from them is said by the rules of :mod:`calico_mn.walkthrough.compare`.
"""

from __future__ import annotations

BACKEND = "sit/sit-web-backend-58f48df4c9-b2q28"
BACKEND_DEVICE = "cali262cda17a90"
BACKEND_IP = "10.22.151.11"

# kubectl get pod -owide -n sit, its line about the back end
KUBECTL = (
    "sit-web-backend-58f48df4c9-b2q28        1/1     Running       0               22h     "
    "10.22.151.11   192.168.57.32   <none>           <none>")

# route -n | grep 10.22.151.11, on 192.168.57.32
ROUTE_N = "10.22.151.11    0.0.0.0         255.255.255.255 UH    0      0        0 cali262cda17a90"

# ip a | grep cali262cda17a90 -A 10, on 192.168.57.32
HOST_SIDE = """\
8608: cali262cda17a90@if4: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP \
group default
    link/ether ee:ee:ee:ee:ee:ee brd ff:ff:ff:ff:ff:ff link-netnsid 82
    inet6 fe80::ecee:eeff:feee:eeee/64 scope link
       valid_lft forever preferred_lft forever
"""

# cat /sys/class/net/eth0/iflink, in the pod
IFLINK = "8608"

# ip route, on 192.168.57.31 (the article leaves lines out where it prints dots)
IP_ROUTE = """\
default via 192.168.57.1 dev eth0
blackhole 10.22.138.0/26 proto bird
10.22.138.1 dev cali0953d667977 scope link
10.22.151.0/26 via 192.168.57.32 dev tunl0 proto bird onlink
"""

# tcpdump -eni tunl0 -nnvv | grep 10.22.151.11, on 192.168.57.32
TCPDUMP_BANNER = "tcpdump: listening on tunl0, link-type RAW (Raw IP), capture size 262144 bytes"
TCPDUMP = """\
    10.22.138.0 > 10.22.151.11: ICMP echo request, id 30387, seq 1, length 64
    10.22.151.11 > 10.22.138.0: ICMP echo reply, id 30387, seq 1, length 64
    10.22.138.0 > 10.22.151.11: ICMP echo request, id 30387, seq 2, length 64
    10.22.151.11 > 10.22.138.0: ICMP echo reply, id 30387, seq 2, length 64
"""

# ip a | grep tunl0, on 192.168.57.31
TUNL0 = """\
2: tunl0@NONE: <NOARP,UP,LOWER_UP> mtu 1480 qdisc noqueue state UNKNOWN group default qlen 1000
    inet 10.22.138.0/32 scope global tunl0
"""

# ip a, in the pod; its own tunl0 stands apart, because only the kernel's ipip module makes it
POD_LO = """\
1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN group default qlen 1000
    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00
    inet 127.0.0.1/8 scope host lo
       valid_lft forever preferred_lft forever
    inet6 ::1/128 scope host
       valid_lft forever preferred_lft forever
"""
POD_TUNL0 = """\
2: tunl0@NONE: <NOARP> mtu 1480 qdisc noop state DOWN group default qlen 1000
    link/ipip 0.0.0.0 brd 0.0.0.0
"""
POD_ETH0 = """\
4: eth0@if8608: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP group default
    link/ether f6:7f:37:81:fc:15 brd ff:ff:ff:ff:ff:ff link-netnsid 0
    inet 10.22.151.11/32 scope global eth0
       valid_lft forever preferred_lft forever
    inet6 fe80::f47f:37ff:fe81:fc15/64 scope link
       valid_lft forever preferred_lft forever
"""

# ip route and ip neigh, in the pod
POD_ROUTE = """\
default via 169.254.1.1 dev eth0
169.254.1.1 dev eth0 scope link
"""
POD_NEIGH = "169.254.1.1 dev eth0 lladdr ee:ee:ee:ee:ee:ee REACHABLE"

# cat /proc/sys/net/ipv4/conf/cali262cda17a90/proxy_arp, on 192.168.57.32
PROXY_ARP = "1"

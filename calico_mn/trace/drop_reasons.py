"""What can end a packet's way: the names of causes, and which of the kernel's words mean which."""

from __future__ import annotations

BLACKHOLE, UNREACHABLE, PROHIBIT, NO_ROUTE = "blackhole", "unreachable", "prohibit", "no-route"
RP_FILTER, MARTIAN, TTL, TOO_BIG = "rp-filter", "martian", "ttl", "too-big"
DEVICE_DOWN, NO_NEIGHBOUR, WRONG_MAC = "device-down", "no-neighbour", "wrong-mac"
NOT_FORWARDING, NOT_DECAPSULATED, NOT_ENCAPSULATED = (
    "not-forwarding", "not-decapsulated", "not-encapsulated")
FILTER, LOST, NO_REPLY, UNKNOWN = "filter", "lost-on-cable", "no-reply", "unknown"

#: a route's kind -> the cause
BY_KIND = {"blackhole": BLACKHOLE, "unreachable": UNREACHABLE, "prohibit": PROHIBIT}
#: the errno of a route lookup -> the cause
BY_ERROR = {"ENETUNREACH": NO_ROUTE, "EINVAL": MARTIAN, "EACCES": PROHIBIT,
            "EHOSTUNREACH": UNREACHABLE, "EXDEV": RP_FILTER}
#: the errno -> what ``ip route get`` says of it, strerror(3)
WORDS = {"EXDEV": "Invalid cross-device link", "ENETUNREACH": "Network is unreachable",
         "EHOSTUNREACH": "No route to host", "EINVAL": "Invalid argument",
         "EACCES": "Permission denied"}

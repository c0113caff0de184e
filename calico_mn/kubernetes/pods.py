"""Pods of a measurement: places where the instruments' programs run, and whether they are ready.

A :class:`PodHost` is what an instrument calls a host. Its ``popen`` starts :mod:`.relay` here, a
process whose output, end and exit status are those of the program in the pod. Credentials go to it
through a pipe, never by its command line.
"""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from calico_mn.kernel import processes
from calico_mn.kubernetes.client import ApiServer, path
from calico_mn.kubernetes.manifests import CONTAINER, PROGRAMS
from calico_mn.measure import programs
from calico_mn.text import join, one_line

#: what runs in the pod: ``sh -c WRAPPER sh ARGUMENT...``. A line or the end of standard input ends
#: the program, by SIGTERM and two seconds later by SIGKILL. Constant: no data becomes shell text.
WRAPPER = """\
export LC_ALL=C
exec 3<&0 </dev/null
"$@" 3<&- &
program=$!
{ read -r _ <&3; kill "$program"; sleep 2; kill -9 "$program"; } >/dev/null 2>&1 &
watch=$!
exec 3<&-
wait "$program"
status=$?
kill "$watch" 2>/dev/null
exit "$status"
"""
#: the relay's exit status where the program was not started, or the connection was lost
RELAY_FAILED = 255
_RELAY = Path(__file__).with_name("relay.py")
_OURS = Path(programs.__file__).parent
#: what a pod has for a program of our own and for its interpreter
_IN_POD = {sys.executable: "python3", str(_OURS / programs.ENDPOINT):
           f"{PROGRAMS}/{programs.ENDPOINT}"}
#: what keeps a container from its start, and does not pass by itself (kubelet's images/types.go)
_HOPELESS = ("ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull",
             "CreateContainerConfigError", "CreateContainerError", "RunContainerError",
             "CrashLoopBackOff")


@dataclass(frozen=True)
class PodHost:
    """A pod that runs; ``name`` is ``namespace/pod``, ``node`` its node's name."""

    name: str
    ip: str
    node: str
    image: str
    server: ApiServer

    def popen(self, *args: Any, **kwargs: Any) -> subprocess.Popen[Any]:
        """``subprocess.Popen`` of a program in the pod, given as a list.

        Output goes to pipes by default. The pod's own environment is used, with LC_ALL=C.
        """
        argv = [_IN_POD.get(str(word), str(word)) for word in args[0]]
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE,
                   "start_new_session": True, **kwargs, "stdin": subprocess.PIPE, "env": None}
        process = processes.start([sys.executable, "-I", str(_RELAY)], **options)
        assert process.stdin is not None
        try:
            os.write(process.stdin.fileno(), json.dumps(self._request(argv)).encode() + b"\n")
        except BaseException:
            programs.end(process)
            raise
        return process

    def _request(self, argv: Sequence[str]) -> dict[str, Any]:
        namespace, _, pod = self.name.partition("/")
        _, url, headers, *_ = self.server.serialized(
            "GET", path("v1", "pods", namespace, pod, "exec"), {
                "command": ["sh", "-c", WRAPPER, "sh", *argv], "container": CONTAINER,
                "stdin": "true", "stdout": "true", "stderr": "true"})
        configuration = self.server.api.configuration
        proxy = urlsplit(configuration.proxy or "")
        verified = {"cert_reqs": ssl.CERT_REQUIRED, "ca_certs": configuration.ssl_ca_cert}
        return {
            "url": url.replace("http", "ws", 1), "headers": dict(headers),
            "ssl": {name: value for name, value in {
                **(verified if configuration.verify_ssl else {"cert_reqs": ssl.CERT_NONE}),
                "certfile": configuration.cert_file, "keyfile": configuration.key_file,
                "server_hostname": configuration.tls_server_name}.items() if value is not None},
            "proxy": {"http_proxy_host": proxy.hostname, "http_proxy_port": proxy.port}
            if proxy.hostname else {}}


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a pod is: its address once it runs, else why not, and whether that stays so."""

    address: str = ""
    why: str = ""
    is_hopeless: bool = False


def progress(pod: Mapping[str, Any]) -> Progress:
    """What a Pod's status says; an empty one is a pod that is not there."""
    status = pod.get("status") or {}
    phase = status.get("phase")
    if not pod or pod["metadata"].get("deletionTimestamp"):
        return Progress(why="it was deleted", is_hopeless=True)
    if phase in ("Failed", "Succeeded"):
        return Progress(why=_said(status, f"it has ended ({phase})"), is_hopeless=True)
    containers = status.get("containerStatuses") or ()
    if phase == "Running" and containers and all(each.get("ready") for each in containers):
        addresses = [str(each.get("ip")) for each in status.get("podIPs") or ()]
        if address := next(filter(_is_ipv4, [*addresses, str(status.get("podIP"))]), ""):
            return Progress(address)
        return Progress(why=f"it has the addresses {join(addresses)}, and none of IPv4"
                        if addresses else "it has no address", is_hopeless=bool(addresses))
    for each in containers:
        waiting = (each.get("state") or {}).get("waiting") or {}
        if reason := waiting.get("reason"):
            return Progress("", _said(waiting, str(reason)), reason in _HOPELESS)
    for each in status.get("conditions") or ():
        if each.get("type") == "PodScheduled" and each.get("status") == "False":
            return Progress("", _said(each, str(each.get("reason"))),
                            each.get("reason") == "Unschedulable")
    return Progress(why=f"it is {phase or 'not known yet'}")


def _is_ipv4(text: str) -> bool:
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True


def _said(status: Mapping[str, Any], otherwise: str) -> str:
    reason = str(status.get("reason") or otherwise)
    message = status.get("message")
    return one_line(f"{reason}: {message}" if message else reason)[:500]

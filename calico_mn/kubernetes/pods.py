"""Programs in pods of a real cluster: started as if they ran here, or run to their end.

    PodHost.popen   starts .relay here, whose output, end and exit status are those of the program
    run             asks by the same connection, in this process

Both go through the exec subresource. A :class:`PodHost` is what an instrument calls a host.
Credentials go to the relay through a pipe, never by its command line.
"""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calico_mn.kernel import processes
from calico_mn.kubernetes.client import CONNECT_S, ApiError, ApiServer, path
from calico_mn.kubernetes.namespace import CONTAINER, PROGRAMS
from calico_mn.measure import programs
from calico_mn.text import one_line

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


@dataclass(frozen=True)
class PodHost:
    """A pod that runs; ``name`` is ``namespace/pod``, ``node`` its node's name."""

    name: str
    ip: str
    node: str
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
            request = _request(self.server, _place(*self.name.split("/")), CONTAINER,
                               ["sh", "-c", WRAPPER, "sh", *argv], stdin="true")
            os.write(process.stdin.fileno(), json.dumps(request).encode() + b"\n")
        except BaseException:
            programs.end(process)
            raise
        return process


def run(server: ApiServer, namespace: str, pod: str, container: str, command: Sequence[str],
        time_out: float = 30.0) -> programs.Finished:
    """Run a program to its end, by no shell. ``time_out`` is in seconds.

    Raises ApiError: no right, no such pod, no such program in its image, no end in time.
    """
    import websocket

    from calico_mn.kubernetes import relay

    place = _place(namespace, pod)
    shown = one_line(f"{' '.join(command)!r} in pod {namespace}/{pod} of {server}")
    try:
        connection = relay.connected(_request(server, place, container, command), CONNECT_S)
    except websocket.WebSocketBadStatusException as error:
        raise server.refused("POST", place, error.status_code, error.resp_body or b"") from None
    except websocket.WebSocketTimeoutException:
        raise server.unreachable(TimeoutError()) from None
    except websocket.WebSocketConnectionClosedException as error:
        raise server.unreachable(ConnectionError(*error.args)) from None
    except (websocket.WebSocketException, OSError, ValueError) as error:
        raise server.unreachable(error) from None
    printed: dict[int, list[bytes]] = {}
    deadline = time.monotonic() + time_out

    def take(channel: int, text: bytes) -> None:
        printed.setdefault(channel, []).append(text)
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)

    try:
        connection.settimeout(time_out)
        end = relay.received(connection, take) or b""
    except (websocket.WebSocketTimeoutException, TimeoutError):
        raise ApiError(f"{shown} did not end within {time_out:g} s") from None
    except (websocket.WebSocketException, OSError) as error:
        raise ApiError(f"the connection was lost during {shown}: {one_line(str(error))}") from None
    finally:
        connection.close(timeout=1)
    status = relay.exit_status(end)
    if status is None:
        why = one_line(relay.message(end)) or "its end was not told"
        raise ApiError(f"{shown} could not be run: {why}")
    return programs.Finished(status, *(
        b"".join(printed.get(channel, ())).decode("utf-8", "replace") for channel in (1, 2)))


def _place(namespace: str, pod: str) -> str:
    return path("v1", "pods", namespace, pod, "exec")


def _request(server: ApiServer, place: str, container: str, command: Sequence[str],
             **streams: str) -> dict[str, Any]:
    """What .relay connects with, ready for JSON: URL, headers, options of TLS and of a proxy."""
    from kubernetes.stream.ws_client import websocket_proxycare

    _, url, headers, *_ = server.serialized("GET", place, {
        "command": list(command), "container": container, "stdout": "true", "stderr": "true",
        **streams})
    configuration = server.api.configuration
    verified = {"cert_reqs": ssl.CERT_REQUIRED, "ca_certs": configuration.ssl_ca_cert}
    return {
        "url": url.replace("http", "ws", 1), "headers": dict(headers),
        "ssl": {name: value for name, value in {
            **(verified if configuration.verify_ssl else {"cert_reqs": ssl.CERT_NONE}),
            "certfile": configuration.cert_file, "keyfile": configuration.key_file,
            "server_hostname": configuration.tls_server_name}.items() if value is not None},
        "proxy": websocket_proxycare({}, configuration, url, headers)}

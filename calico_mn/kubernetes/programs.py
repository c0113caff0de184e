"""A program in a container of a pod, through the exec subresource -> what it printed.

In go a pod's namespace and name, a container and an argument list; no shell is involved. Out come
standard output, standard error and the exit status (pkg/kubelet/cri/streaming and
remotecommand's protocol v4.channel.k8s.io: channels 1, 2 and 3 of a WebSocket).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from threading import Thread
from typing import Any

from calico_mn.kubernetes.client import CONNECT_S, ApiError, ApiServer, path
from calico_mn.text import one_line

_OUT, _ERR, _STATUS = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Done:
    """What a program printed, and its exit status."""

    stdout: str
    stderr: str
    status: int


def run(server: ApiServer, namespace: str, pod: str, container: str, command: Sequence[str],
        time_out: float = 30.0) -> Done:
    """Run a program to its end. ``time_out`` is in seconds.

    Raises ApiError: no right, no such pod, no such program in its image, no end in time.
    """
    import websocket

    from calico_mn.kubernetes import relay

    place = path("v1", "pods", namespace, pod, "exec")
    shown = one_line(f"{' '.join(command)!r} in pod {namespace}/{pod} of {server}")
    _, url, headers, *_ = server.serialized("GET", place, {
        "command": list(command), "container": container, "stdout": "true", "stderr": "true"})
    try:
        stream = _connected(server, url, headers)
    except websocket.WebSocketBadStatusException as error:
        raise server.refused("POST", place, error.status_code, error.resp_body or b"") from None
    except websocket.WebSocketConnectionClosedException as error:
        raise server.unreachable(ConnectionError(*error.args)) from None
    except (websocket.WebSocketException, OSError, ValueError) as error:
        raise server.unreachable(error) from None
    try:
        stream.run_forever(timeout=time_out)
        if stream.is_open():
            raise ApiError(f"{shown} did not end within {time_out:g} s")
        out, err, status = (bytes(stream.read_channel(channel))
                            for channel in (_OUT, _ERR, _STATUS))
    except (websocket.WebSocketException, OSError) as error:
        raise ApiError(f"the connection was lost during {shown}: {one_line(str(error))}") from None
    finally:
        stream.close(timeout=1)
    exit_status = relay.exit_status(status)
    if exit_status is None:
        why = one_line(relay.message(status)) or "its end was not told"
        raise ApiError(f"{shown} could not be run: {why}")
    return Done(out.decode("utf-8", "replace"), err.decode("utf-8", "replace"), exit_status)


def _connected(server: ApiServer, url: str, headers: Any) -> Any:
    """A WebSocket with the right credentials, certificates and proxy. Raises what its class does.

    In a thread of its own, because connecting has no time-out there.
    """
    from kubernetes.stream import ws_client

    connected: Future[Any] = Future()

    def connect() -> None:
        try:
            stream = ws_client.WSClient(server.api.configuration, ws_client.get_websocket_url(url),
                                        headers, capture_all=False, binary=True)
            stream.sock.settimeout(CONNECT_S)  # within a frame
            connected.set_result(stream)
        except Exception as error:
            connected.set_exception(error)

    Thread(target=connect, daemon=True).start()
    try:
        return connected.result(CONNECT_S)
    except FutureTimeoutError:
        raise TimeoutError from None

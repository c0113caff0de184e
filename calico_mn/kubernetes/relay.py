"""A program: it stands for a program that runs in a pod, and ends with its exit status.

Standard input begins with a line of JSON: the URL of the pod's exec subresource, the headers of the
request, with the credentials, and the options of TLS. Output and errors are passed on as they
come. SIGTERM, or the end of standard input, which comes when the caller is gone, ends the program
in the pod; what it says then is still passed on. Kubernetes leaves a program running whose
connection is lost, so there a shell waits beside it (``WRAPPER`` of .pods).

Exit status 255: the program could not be started, or the connection was lost. The protocol is
v4.channel.k8s.io (k8s.io/apimachinery/pkg/util/remotecommand). Run by .pods as a file: it imports
the standard library and websocket-client, the connection of the package kubernetes. The functions
of the protocol are also those of .pods, which has run a program to its end.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import websocket

FAILED = 255
_STDIN, _STDOUT, _STDERR, _STATUS = range(4)
_CONNECT_S = 20.0
#: seconds between signs of life, for load balancers that end silent connections after a minute
_ALIVE_S = 20.0
_MOST_SAID = 500


def main() -> int:
    """Run the program; the exit status."""
    request: dict[str, Any] = json.loads(sys.stdin.readline())
    try:
        connection = connected(request, _CONNECT_S)
    except websocket.WebSocketBadStatusException as error:
        return _failed(message(error.resp_body) or f"the API server answered {error.status_code}")
    except (websocket.WebSocketException, OSError, ValueError) as error:
        return _failed(f"no connection to the API server: {error}")
    connection.settimeout(None)
    signal.signal(signal.SIGTERM, lambda *_: connection.send_binary(bytes([_STDIN]) + b"\n"))
    threading.Thread(target=_wait_for_caller, args=[connection], daemon=True).start()
    try:
        end = received(connection, _pass_on)
    except (websocket.WebSocketException, OSError) as error:
        return _failed(f"the connection to the pod was lost: {error}")
    if end is None:
        return _failed("the connection to the pod was lost")
    status = exit_status(end)
    return status if status is not None else _failed(
        message(end) or "the pod did not tell how the program ended")


def _wait_for_caller(connection: Any) -> None:
    while True:
        if not select.select([0], [], [], _ALIVE_S)[0]:
            with suppress(websocket.WebSocketException, OSError):  # the main thread notices, too
                connection.ping()
        elif not os.read(0, 1024):
            break
    os.kill(os.getpid(), signal.SIGTERM)


def _pass_on(channel: int, text: bytes) -> None:
    while text:
        text = text[os.write(channel, text):]


# --- the protocol

def connected(request: Mapping[str, Any], seconds: float) -> Any:
    """A WebSocket to the exec subresource; each step of connecting may take ``seconds``.

    Raises websocket-client's errors, OSError and ValueError.
    """
    return websocket.create_connection(
        request["url"], timeout=seconds, header=request["headers"], sslopt=request["ssl"],
        subprotocols=["v4.channel.k8s.io"], **request["proxy"])


def received(connection: Any, take: Callable[[int, bytes], object]) -> bytes | None:
    """Hand what comes on standard output (1) and error (2) to ``take``; the Status at the end.

    None where the connection was closed before. Raises websocket-client's errors and OSError.
    """
    while True:
        opcode, data = connection.recv_data()
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            return None
        channel, text = (data[0], data[1:]) if data else (None, b"")
        if channel in (_STDOUT, _STDERR):
            take(channel, text)
        elif channel == _STATUS:
            return bytes(text)


def exit_status(text: bytes) -> int | None:
    """That in Kubernetes' Status, of whose causes one is ExitCode; None without one."""
    try:
        status = json.loads(text)
        if status["status"] == "Success":
            return 0
        if status.get("reason") == "NonZeroExitCode":
            return next(int(cause["message"]) for cause in status["details"]["causes"]
                        if cause["reason"] == "ExitCode")
    except (AttributeError, LookupError, StopIteration, TypeError, ValueError, RecursionError):
        pass
    return None


def message(text: bytes | None) -> str:
    """That of a Status; empty where there is none."""
    try:
        return str(json.loads(text or b"")["message"])[:_MOST_SAID]
    except (LookupError, TypeError, ValueError, RecursionError):
        return ""


def _failed(why: str) -> int:
    os.write(_STDERR, why.encode(errors="replace") + b"\n")
    return FAILED


if __name__ == "__main__":
    sys.exit(main())

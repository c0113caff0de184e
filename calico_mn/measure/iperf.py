"""TCP throughput by iperf3: one server for one transfer, then both have ended."""

from __future__ import annotations

import json
import math
import os
import select
import subprocess
import time
from dataclasses import dataclass
from typing import Any, Protocol

from calico_mn.errors import ToolError
from calico_mn.measure.programs import Host, end, run, start

_CONNECT_TIMEOUT_MS = 2000
_START_TIMEOUT_S = 5.0
_GRACE_S = 15.0
_FIRST_PROBE_BYTES = 1_000_000
_SECOND_PROBE_S = 0.2

#: seconds of a transfer over a rate-limited link that are not counted, and the fewest that are
UNSTEADY_S = 1
_STEADY_S = 2


@dataclass(frozen=True, slots=True)
class Transfer:
    """What the receiver got: goodput in Mbit/s of TCP payload, bytes, and the time in s.

    ``retransmits`` counts segments; None where iperf3 cannot tell.
    """

    mbit_per_s: float
    bytes: int
    seconds: float
    retransmits: int | None


def parse(output: str) -> Transfer:
    """Read iperf3's JSON (client's side). Raises ToolError with its error, or with ours."""
    try:
        answer = json.loads(output)
    except ValueError:
        raise ToolError(f"iperf3 answered something that is not JSON: {output[:80]!r}") from None
    if not isinstance(answer, dict):
        raise ToolError(f"iperf3 answered no JSON object: {output[:80]!r}")
    if "error" in answer:
        raise ToolError(f"iperf3: {answer['error']}")
    try:
        received = answer["end"]["sum_received"]
        retransmits = answer["end"].get("sum_sent", {}).get("retransmits")
        transfer = Transfer(
            round(float(received["bits_per_second"]) / 1e6, 3), int(received["bytes"]),
            float(received["seconds"]), None if retransmits is None else int(retransmits))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ToolError("iperf3's answer has no end.sum_received with bytes, seconds and"
                        " bits_per_second") from None
    if transfer.bytes <= 0:
        raise ToolError("iperf3: nothing arrived")
    return transfer


def client_argv(ip: str, *, seconds: int | None = None, amount: int | None = None,
                skipped: int = 0) -> list[str]:
    """The client's command: for a time in whole seconds, or for an ``amount`` in bytes.

    The first ``skipped`` seconds come in addition and are not counted.
    """
    limit = ["-t", str(seconds)] if amount is None else ["-n", str(amount)]
    if skipped:
        limit = ["-O", str(skipped), *limit]
    return ["iperf3", "-c", ip, "-J", "-i", "0", "--connect-timeout", str(_CONNECT_TIMEOUT_MS),
            *limit]


class Server(Host, Protocol):
    """A host that has an address: a pod."""

    ip: str


def counted_seconds(duration: float, limited: bool) -> float:
    """For how long a transfer is counted when ``duration`` is asked for."""
    return max(_STEADY_S, math.ceil(duration)) if limited else duration


def transfer(client: Host, server: Server, *, duration: float, rate: float,
             limited: bool = False) -> Transfer:
    """Send for ``duration`` seconds from ``client`` to ``server``.

    iperf3 counts whole seconds only. Any other duration becomes an amount: what ``rate`` (in
    Mbit/s, from :func:`warm_up`) moves in that time. Raises ToolError.

    Over a ``limited`` link (tc-tbf) the first second is not counted: it has the bucket's tokens
    on top of the rate, 10 ms worth of it, and TCP's start. What follows lasts two seconds or
    more, since packets arrive in bursts of up to a bucket, which a short window cuts.
    """
    if limited:
        seconds = int(counted_seconds(duration, limited))
        return _transfer(client, server,
                         client_argv(server.ip, seconds=seconds, skipped=UNSTEADY_S),
                         seconds + UNSTEADY_S)
    if duration == int(duration):
        return _transfer(client, server, client_argv(server.ip, seconds=int(duration)), duration)
    amount = max(1, round(rate * 1e6 / 8 * duration))
    return _transfer(client, server, client_argv(server.ip, amount=amount), duration * 10)


def warm_up(client: Host, server: Server) -> float:
    """Two short transfers; the rate of the second in Mbit/s. Not a measurement."""
    first = _transfer(client, server, client_argv(server.ip, amount=_FIRST_PROBE_BYTES), 60)
    amount = max(_FIRST_PROBE_BYTES // 8, round(first.mbit_per_s * 1e6 / 8 * _SECOND_PROBE_S))
    return _transfer(client, server, client_argv(server.ip, amount=amount), 60).mbit_per_s


def _transfer(client: Host, server: Host, command: list[str], expected: float) -> Transfer:
    listener = start(server, ["iperf3", "-s", "-1", "-i", "0", "--forceflush"])
    try:
        _await_listening(server, listener)
        finished = run(client, command, timeout=expected + _GRACE_S)
        if finished.status and not finished.out.strip():
            reason = finished.err.strip() or f"exit status {finished.status}"
            raise ToolError(f"{client.name}: {' '.join(command)}: {reason}")
        try:
            return parse(finished.out)
        except ToolError as error:
            raise ToolError(f"{client.name} to {server.name}: {error}") from None
    finally:
        end(listener)


def _await_listening(host: Host, process: subprocess.Popen[Any]) -> None:
    """Return once the server says that it listens. Raises ToolError if it ends or is silent."""
    assert process.stdout is not None and process.stderr is not None
    # Read below Python's own buffer, which select() does not see.
    output = process.stdout.fileno()
    deadline = time.monotonic() + _START_TIMEOUT_S
    said = b""
    while b"listening" not in said:
        if not select.select([output], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise ToolError(f"{host.name}: iperf3 -s did not start to listen within"
                            f" {_START_TIMEOUT_S:g} s")
        part = os.read(output, 4096)
        if not part:
            reason = (said.decode(errors="replace") + process.stderr.read()).strip()
            raise ToolError(f"{host.name}: iperf3 -s ended: {reason}")
        said += part

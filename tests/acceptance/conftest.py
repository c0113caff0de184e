"""A running cluster per test, on the tunnel back end that the environment names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from support import connectivity

from calico_mn import CalicoNet
from calico_mn.errors import UnsupportedError
from calico_mn.kernel.tunnel import choose
from calico_mn.model import Topology

Boot = Callable[..., CalicoNet]


@pytest.fixture(scope="session")
def tunnel() -> str:
    """``CALICO_MN_TUNNEL``, or ``auto``: the tests run on both back ends, in two runs."""
    wanted = os.environ.get("CALICO_MN_TUNNEL", "auto")
    if wanted == "auto":
        try:
            choose(wanted).close()
        except UnsupportedError as error:
            pytest.skip(str(error))
    return wanted


@pytest.fixture
def boot(tunnel: str) -> Iterator[Boot]:
    """boot(topology, **options) -> a running cluster, which ends with the test."""
    with ExitStack() as stack:
        def start(topology: Topology, **options: int) -> CalicoNet:
            return stack.enter_context(CalicoNet(topology, tunnel=tunnel, **options))
        yield start


@pytest.fixture(autouse=True)
def every_declared_matrix_is_checked() -> Iterator[None]:
    """A matrix that is not compared with anything is a mistake in the test."""
    connectivity.unchecked.clear()
    yield
    assert not connectivity.unchecked, (
        f"declared but never checked: {[m.names for m in connectivity.unchecked]}")

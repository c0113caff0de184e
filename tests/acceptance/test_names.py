"""Names of pods and nodes, as programs in a cluster resolve them.

    a (node31)    b (node32)
    |             |
  --+-- rack-a ---+--
"""

from __future__ import annotations

import pytest
from support.topologies import one_subnet

pytestmark = pytest.mark.root


def test_programs_know_places_by_name_and_their_own(boot):
    net = boot(one_subnet("Always"))
    assert [net[place].cmd("hostname").strip() for place in ("a", "node32", "rack-a")] == [
        "a", "node32", "rack-a"]
    for place, names in (("a", ("b", "b.default", "default.b", "node32")), ("node31", ("a", "b"))):
        for name in names:
            assert ", 0% packet loss" in net[place].cmd(f"ping -c 1 -W 30 {name}"), (place, name)
    # Where a name server is asked, it says "Temporary failure" after ten seconds.
    assert "Name or service not known" in net["a"].cmd("ping -c 1 nowhere.example.org")


def test_a_shell_that_runs_knows_who_comes_and_goes(boot):
    net = boot(one_subnet("Always"))
    shell = net["a"]
    assert shell.cmd("getent hosts late") == ""
    late = net.add_pod(name="late", node="node32")
    assert shell.cmd("getent hosts late").split()[:2] == [late.ip, "late"]
    net.delete_pod("default/late")
    assert shell.cmd("getent hosts late") == ""
    net.add_node("node39", "192.168.57.39/24")
    assert shell.cmd("getent hosts node39").split() == ["192.168.57.39", "node39"]


def test_a_change_that_names_nothing_leaves_the_file(boot):
    net = boot(one_subnet("Always"))
    net["a"].cmd("echo 192.0.2.1 typed >> /etc/hosts")
    net.set_ipip_mode("Never")
    net.apply({"apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkSet",
               "metadata": {"name": "s"}, "spec": {"nets": ["192.0.2.0/24"]}})
    assert net["b"].cmd("getent hosts typed").split() == ["192.0.2.1", "typed"]


def test_the_machines_own_names_are_untouched(boot):
    with open("/etc/hosts", encoding="utf-8") as file:
        before = file.read()
    net = boot(one_subnet("Always"))
    net["a"].cmd("hostname other; echo 192.0.2.1 typed >> /etc/hosts")
    with open("/etc/hosts", encoding="utf-8") as file:
        assert file.read() == before
    with open("/proc/sys/kernel/hostname", encoding="utf-8") as file:
        assert file.read().strip() != "other"

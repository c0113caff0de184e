import pytest

from calico_mn.measure.offloads import (
    Feature,
    Switched,
    noted,
    parse,
    switched_off,
    to_restore,
    to_switch,
)
from calico_mn.measure.readings import Reading

ETHTOOL = """Features for tunl0:
rx-checksumming: off [fixed]
tcp-segmentation-offload: on
\ttx-tcp-segmentation: on
\ttx-tcp-mangleid-segmentation: off
generic-segmentation-offload: on
generic-receive-offload: off [fixed]
rx-gro-list: off [requested on]
"""
BEFORE = parse(ETHTOOL)


def test_features_groups_and_what_is_fixed():
    assert {
        "rx-checksumming": Feature(False, True),
        "tcp-segmentation-offload": Feature(True, False, group=True),
        "tx-tcp-segmentation": Feature(True, False),
        "tx-tcp-mangleid-segmentation": Feature(False, False),
        "generic-segmentation-offload": Feature(True, False),
        "generic-receive-offload": Feature(False, True),
        "rx-gro-list": Feature(False, False),
    } == BEFORE


@pytest.mark.parametrize(("switches", "enabled", "words"), [
    pytest.param(("tso", "gso", "gro"), False, ["tso", "off", "gso", "off"], id="off"),
    pytest.param(("tso", "gso", "gro"), True, [], id="gro is fixed, the others are on already"),
    pytest.param(("gso",), False, ["gso", "off"], id="one of them"),
])
def test_only_what_differs_and_can_be_switched_is(switches, enabled, words):
    assert to_switch(BEFORE, switches, enabled) == words


def test_single_features_are_put_back_and_not_the_group():
    # "tso on" would switch on mangleid too, which was off.
    now = parse(ETHTOOL.replace(": on", ": off"))
    assert to_restore(BEFORE, now) == [
        "tx-tcp-segmentation", "on", "generic-segmentation-offload", "on"]
    assert to_restore(BEFORE, BEFORE) == []


def test_what_was_switched_off_is_noted_and_found_again():
    devices = (Switched("default/a", "eth0", {}, ()), Switched("node31", "tunl0", {}, ()))
    readings = [Reading(order, "tcp", 1, {}, seen, {}, {})
                for order, seen in enumerate((noted(devices), noted(()), noted(devices), {}))]
    assert switched_off(readings) == ["eth0 of default/a, tunl0 of node31"]

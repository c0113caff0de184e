import pytest

from calico_mn.measure.offloads import Feature, parse, to_restore, to_switch

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

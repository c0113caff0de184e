from calico_mn.measure.environment import parse_cpu_model, parse_offloads

ETHTOOL = """Features for eth0:
rx-checksumming: on
tx-checksumming: on
\ttx-checksum-ipv4: off [fixed]
tcp-segmentation-offload: off
\ttx-tcp-segmentation: on
generic-segmentation-offload: on
generic-receive-offload: off [fixed]
"""


def test_the_offloads_that_matter():
    assert parse_offloads(ETHTOOL) == {
        "tx-checksumming": True, "tso": False, "gso": True, "gro": False}


def test_no_answer_gives_no_offloads():
    assert parse_offloads("") == {}


def test_cpu_model():
    assert parse_cpu_model("processor\t: 0\nmodel name\t: Fast CPU @ 3 GHz\n") == "Fast CPU @ 3 GHz"
    assert parse_cpu_model("processor\t: 0\nBogoMIPS\t: 50.00\n") is None

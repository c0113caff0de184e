"""ipip_modes.py --on kubernetes, interrupted: what is left, and how the resumed run goes on.

The pods that the experiment makes are pods of an emulated cluster, whose mode is that of the pool:

     node31  client, same-node   node32  same-subnet       node33  cross-subnet
        |                           |                         |
   -----+-- rack-a -----------------+-- (.1) r1 (.1) ---------+-- rack-b ----
"""

import signal

import pytest
from support.measuring import CHANGE, FEW, ONE_PATH, TO_SUBNETS, known, resume
from support.patience import eventually

from calico_mn import results

pytestmark = pytest.mark.root


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_leaves_nothing_and_the_run_goes_on_later(number, cluster, measure):
    begun = measure(*FEW, *ONE_PATH, *CHANGE, "--duration", "1", "--instruments", "tcp")
    assert begun.has_readings(5)  # four pings, and the first of two trials
    begun.process.send_signal(number)
    status, _, err = begun.end()
    assert status == 130 and "a second Ctrl-C leaves that to you" in err, err
    assert not list(cluster.namespaces) and cluster.modes[-1] == "Always"
    assert eventually(lambda: all(process.poll() is not None for process in cluster.running))
    before = results.load(begun.output)
    assert not before.complete
    again = resume(begun.output)
    assert again.end()[0] == 0
    after = results.load(begun.output)
    assert after.complete and after.readings[:len(before.readings)] == before.readings
    assert not list(cluster.namespaces) and cluster.modes[-1] == "Always"


def test_a_second_signal_while_cleaning_says_what_is_left(cluster, measure):
    # In a tenth of a second nothing may arrive on a busy machine.
    begun = measure(*FEW, *TO_SUBNETS, "--duration", "0.5")
    assert begun.has_readings(3)
    cluster.keeps_namespaces = True
    begun.process.send_signal(signal.SIGINT)
    assert eventually(lambda: any(request.verb == "delete" for request in cluster.requests))
    begun.process.send_signal(signal.SIGINT)
    status, _, err = begun.end()
    (name,) = cluster.namespaces
    assert status == 130
    assert f"    kubectl --context test delete namespace {name}\n" in err
    cluster.keeps_namespaces = False
    status, _, err = resume(begun.output).end()
    assert status == 0, err
    assert not list(cluster.namespaces)


def test_a_lost_connection_fails_the_trial_and_a_resumed_run_takes_it_again(cluster, measure):
    begun = measure(*FEW, *ONE_PATH, "--duration", "1", "--repeats", "2", "--instruments", "tcp")
    assert begun.has_readings(3)  # two pings, and the first of two trials
    assert eventually(lambda: len(cluster.sockets) > 1 and cluster.cut())
    status, _, err = begun.end()
    assert status == 1 and "a trial failed" in err and "the connection to the pod was lost" in err
    # Kubernetes leaves such programs running; ours end all the same.
    assert eventually(lambda: all(process.poll() is not None for process in cluster.running))
    failed = results.load(begun.output)
    again = resume(begun.output)
    status, _, err = again.end()
    assert status == 0, err
    assert len(results.load(begun.output).readings) > len(failed.readings)


def test_an_api_server_that_is_gone_for_good_leaves_commands(cluster, measure, net, tmp_path,
                                                            monkeypatch):
    begun = measure(*FEW, *ONE_PATH, *CHANGE, "--modes", "Never,Always", "--duration", "1")
    assert eventually(lambda: cluster.modes == ["Never"])
    assert begun.has_readings(1)
    kept = cluster.resources
    # Not its exit, which would delete the pods.
    cluster.is_gone = True
    status, _, err = begun.end()
    assert status == 1, err
    name = known(begun.output)["namespace"]
    assert "Not everything is as it was before" in err and "Traceback" not in err
    if cluster.modes[-1] != "Always":
        assert "kubectl --context test patch ippools" in err
        assert known(begun.output)["former_mode"] == "Always"
    assert f"    kubectl --context test delete namespace {name}\n" in err
    assert kept is cluster.resources and list(cluster.namespaces) == [name]
    cluster.is_gone = False
    again = resume(begun.output)
    status, _, err = again.end()
    assert status == 0, err
    assert not list(cluster.namespaces) and cluster.modes[-1] == "Always"


def test_a_run_that_was_killed_is_tidied_up_by_the_resumed_one(cluster, measure):
    begun = measure(*FEW, *ONE_PATH, *CHANGE)
    assert eventually(lambda: "Never" in cluster.modes and cluster.modes[-1] == "Never")
    begun.process.kill()
    begun.end()
    assert eventually(lambda: all(process.poll() is not None for process in cluster.running))
    assert cluster.modes[-1] == "Never" and list(cluster.namespaces)
    assert known(begun.output)["former_mode"] == "Always"
    status, _, err = resume(begun.output).end()
    assert status == 0, err
    assert cluster.modes[-1] == "Always" and not list(cluster.namespaces)
    assert known(begun.output)["former_mode"] is None


def test_nodes_that_are_not_ready_any_more_stop_a_resumed_run(cluster, measure):
    begun = measure(*FEW, *TO_SUBNETS)
    assert begun.has_readings(3)
    begun.process.send_signal(signal.SIGINT)
    begun.end()
    del cluster.resources["v1", "nodes"]["", "node33"]
    status, _, err = resume(begun.output).end()
    assert status == 2 and "the run was on node node33, which cannot be used" in err
    assert not list(cluster.namespaces)

"""Blocks, affinities and the order of addresses, case by case."""

import random

import pytest

from calico_mn.calico.ipam import DEFAULT_BLOCKS_PER_HOST, IPAM, fnv1_32
from calico_mn.errors import IPAMError
from calico_mn.model import BlockAffinity, IPAMConfiguration

from .clusters import cluster, ip, net, pod, pool

STRICT = IPAMConfiguration(strict_affinity=True)


def one_block(node="a", cidr="10.0.0.0/30", *, spare=()):
    """A pool of one block of four addresses, which belongs to ``node``."""
    return IPAM([pool(cidr, 30), *spare], [BlockAffinity(node, net(cidr))])


def fill(ipam, node, prefix, count):
    return [ipam.assign(node, f"{prefix}{i}") for i in range(count)]


def hosts(addresses):
    return [int(str(a).rpartition(".")[2]) for a in addresses]


@pytest.mark.parametrize(("text", "value"), [
    pytest.param("", 0x811C9DC5, id="empty"),
    pytest.param("a", 0x050C5D7E, id="a"),
    pytest.param("foobar", 0x31F0B262, id="foobar"),
])
def test_fnv_1_gives_the_published_vectors(text, value):
    assert fnv1_32(text) == value


# --- the order inside a block

def test_a_fresh_block_is_given_out_lowest_first_from_its_very_first_to_its_very_last_address():
    ipam = IPAM([pool("10.0.0.0/26", 26)])
    assert hosts(fill(ipam, "a", "p", 64)) == list(range(64))


@pytest.mark.parametrize(("released", "next_ones"), [
    pytest.param([0], [2, 3, 0], id="one-goes-to-the-tail"),
    pytest.param([1, 0], [2, 3, 1, 0], id="two-come-back-in-order-of-release"),
    pytest.param([], [2, 3], id="none"),
])
def test_a_released_address_is_given_again_after_all_others(released, next_ones):
    ipam = one_block()
    fill(ipam, "a", "p", 2)
    for i in released:
        ipam.release(f"p{i}")
    assert hosts(fill(ipam, "a", "q", len(next_ones))) == next_ones


def test_release_returns_the_address_and_of_an_unknown_handle_nothing():
    ipam = one_block()
    given = ipam.assign("a", "p")
    assert ipam.release("p") == given
    assert ipam.release("p") is None
    assert ipam.release("never seen") is None
    assert ipam.allocation("p") is None


def test_a_handle_holds_one_address_only():
    ipam = one_block()
    ipam.assign("a", "p")
    with pytest.raises(IPAMError, match=r"p has 10\.0\.0\.0 already"):
        ipam.assign("a", "p")
    with pytest.raises(IPAMError, match="already"):
        ipam.assign_ip("a", "p", ip("10.0.0.2"))
    assert hosts(fill(ipam, "a", "q", 3)) == [1, 2, 3]


# --- which block

@pytest.mark.parametrize("size", range(20, 33))
def test_blocks_have_the_size_of_their_pool(size):
    ipam = IPAM([pool("10.0.0.0/19", size)])
    address = ipam.assign("a", "p")
    (block,) = ipam.blocks("a")
    assert block.prefixlen == size
    assert address == block.network_address
    assert block.subnet_of(net("10.0.0.0/19"))


def test_a_block_of_one_address_holds_the_zeroth_ordinal():
    ipam = IPAM([pool("10.0.0.0/30", 32)])
    given = fill(ipam, "a", "p", 4)
    assert sorted(hosts(given)) == [0, 1, 2, 3]
    assert [net(f"{a}/32") for a in given] == list(ipam.blocks("a"))


def test_the_second_block_is_claimed_when_the_first_one_is_full_and_not_before():
    ipam = IPAM([pool("10.0.0.0/24", 30)], [BlockAffinity("a", net("10.0.0.8/30"))])
    assert hosts(fill(ipam, "a", "p", 4)) == [8, 9, 10, 11]
    assert len(ipam.blocks("a")) == 1
    fifth = ipam.assign("a", "p4")
    assert len(ipam.blocks("a")) == 2
    assert fifth == ipam.blocks("a")[1].network_address
    assert ipam.borrowed("a") == ()


def test_a_hole_in_the_first_block_is_used_before_the_second_block():
    ipam = IPAM([pool("10.0.0.0/24", 30)], [BlockAffinity("a", net("10.0.0.8/30"))])
    fill(ipam, "a", "p", 5)
    ipam.release("p2")
    assert ipam.assign("a", "q") == ip("10.0.0.10")


def test_the_first_block_depends_on_the_name_alone_and_wraps_around_the_pool():
    starts = {}
    for name in ("node31", "node32", "worker", "x"):
        ipam = IPAM([pool("10.0.0.0/28", 30)])
        ipam.assign(name, "p")
        starts[name] = ipam.blocks(name)[0]
        again = IPAM([pool("10.0.0.0/28", 30)])
        again.assign(name, "other handle")
        assert again.blocks(name) == ipam.blocks(name)
        fill(ipam, name, "q", 15)
        blocks = ipam.blocks(name)
        order = list(net("10.0.0.0/28").subnets(new_prefix=30))
        first = order.index(blocks[0])
        assert list(blocks) == order[first:] + order[:first]
    assert len(set(starts.values())) > 1, "all names start at the same block"


def test_affinities_tells_every_claim():
    ipam = IPAM([pool("10.0.0.0/24", 30)], [BlockAffinity("b", net("10.0.0.4/30"))])
    ipam.assign_ip("a", "p", ip("10.0.0.77"))
    assert set(ipam.affinities()) == {BlockAffinity("b", net("10.0.0.4/30")),
                                      BlockAffinity("a", net("10.0.0.76/30"))}


@pytest.mark.parametrize(("limit", "most"), [
    pytest.param(1, 1, id="one"),
    pytest.param(3, 3, id="three"),
    pytest.param(0, DEFAULT_BLOCKS_PER_HOST, id="zero-is-the-safety-limit"),
])
def test_a_node_claims_so_many_blocks_and_no_more(limit, most):
    ipam = IPAM([pool("10.0.0.0/24", 30)],
                configuration=IPAMConfiguration(strict_affinity=True, max_blocks_per_host=limit))
    fill(ipam, "a", "p", 4 * most)
    with pytest.raises(IPAMError):
        ipam.assign("a", "one more")
    assert len(ipam.blocks("a")) == most
    ipam.release("p0")
    assert ipam.assign("a", "one more") == ipam.blocks("a")[0].network_address
    assert ipam.assign("b", "elsewhere") not in ipam.blocks("a")


def test_a_node_at_its_limit_does_not_borrow_either():
    ipam = IPAM([pool("10.0.0.0/24", 30)], [BlockAffinity("b", net("10.0.0.4/30"))],
                IPAMConfiguration(max_blocks_per_host=1))
    fill(ipam, "a", "p", 4)
    with pytest.raises(IPAMError, match="1 blocks are the most that a node may claim"):
        ipam.assign("a", "p4")
    assert ipam.borrowed("a") == ()


def test_the_limit_counts_blocks_of_the_pools_that_are_asked_for():
    pools = [pool("10.0.0.0/24", 30), pool("10.0.1.0/24", 30)]
    ipam = IPAM(pools, configuration=IPAMConfiguration(max_blocks_per_host=1))
    assert ipam.assign("a", "p", pools[:1]) in pools[0].cidr
    assert ipam.assign("a", "q", pools[1:]) in pools[1].cidr


# --- states of a cluster that has changed

def test_blocks_of_another_size_or_pool_keep_their_addresses_and_are_not_claimed_again():
    ipam = IPAM([pool("10.0.0.0/29", 29)], [BlockAffinity("a", net("10.0.0.0/30")),
                                            BlockAffinity("a", net("10.9.0.0/26"))])
    assert ipam.assign_ip("b", "p", ip("10.9.0.5"), is_present=True) == ip("10.9.0.5")
    assert ipam.borrowed("b") == (ip("10.9.0.5"),)
    assert hosts(fill(ipam, "a", "q", 4)) == [0, 1, 2, 3]
    with pytest.raises(IPAMError):
        ipam.assign("a", "r")


def test_of_two_nodes_with_an_affinity_to_one_block_the_first_gives_its_addresses():
    ipam = IPAM([pool("10.0.0.0/24", 30)],
                [BlockAffinity(node, net("10.0.0.8/30")) for node in ("a", "b")])
    assert ipam.blocks("a") == ipam.blocks("b") == (net("10.0.0.8/30"),)
    assert ipam.assign("a", "p") in net("10.0.0.8/30")
    assert ipam.assign("b", "q") not in net("10.0.0.8/30")
    ipam.release_affinity("a")
    assert ipam.assign("b", "r") in net("10.0.0.8/30")


def test_an_address_that_is_in_use_is_kept_whatever_pools_and_affinity_have_become():
    ipam = IPAM([pool("10.0.0.0/24", 30, disabled=True)], [BlockAffinity("a", net("10.0.0.0/30"))],
                STRICT)
    assert ipam.assign_ip("b", "p", ip("10.0.0.1"), is_present=True) == ip("10.0.0.1")
    with pytest.raises(IPAMError, match="no enabled IPPool"):
        ipam.assign_ip("b", "q", ip("10.0.0.2"))


@pytest.mark.parametrize(("reserved", "expected"), [
    (["10.0.0.0/31"], [2, 3, 4, 5]), (["10.0.0.1/32", "10.0.0.3/32"], [0, 2, 4, 5]),
    (["10.0.0.0/31", "10.0.0.2/31"], [4, 5, 6, 7]), (["10.9.0.0/24"], [0, 1, 2, 3]),
])
def test_reserved_addresses_are_not_chosen(reserved, expected):
    ipam = IPAM([pool("10.0.0.0/29", 30)], [BlockAffinity("a", net("10.0.0.0/30"))],
                reservations=map(net, reserved))
    assert hosts(fill(ipam, "a", "p", 4)) == expected


def test_a_reserved_address_can_be_asked_for():
    ipam = IPAM([pool("10.0.0.0/29", 30)], reservations=[net("10.0.0.0/29")])
    assert ipam.assign_ip("a", "p", ip("10.0.0.1")) == ip("10.0.0.1")
    with pytest.raises(IPAMError):
        ipam.assign("a", "q")


# --- borrowing

def test_without_a_free_block_an_address_is_borrowed_and_only_the_borrower_says_so():
    ipam = one_block("a")
    assert ipam.assign("b", "p") == ip("10.0.0.0")
    assert ipam.borrowed("b") == (ip("10.0.0.0"),)
    assert ipam.borrowed("a") == ()
    assert ipam.blocks("b") == ()
    assert ipam.assign("a", "q") == ip("10.0.0.1")
    ipam.release("p")
    assert ipam.borrowed("b") == ()


def test_an_own_address_comes_before_a_borrowed_one():
    ipam = IPAM([pool("10.0.0.0/29", 30)], [BlockAffinity("a", net("10.0.0.0/30")),
                                            BlockAffinity("b", net("10.0.0.4/30"))])
    assert hosts(fill(ipam, "a", "p", 5)) == [0, 1, 2, 3, 4]
    ipam.release("p1")
    assert ipam.assign("a", "q") == ip("10.0.0.1")
    assert ipam.borrowed("a") == (ip("10.0.0.4"),)


def test_strict_affinity_refuses_to_borrow_and_says_why():
    ipam = IPAM([pool("10.0.0.0/30", 30)], [BlockAffinity("a", net("10.0.0.0/30"))], STRICT)
    with pytest.raises(IPAMError, match="affinity is strict") as error:
        ipam.assign("b", "default/web")
    assert "default/web" in str(error.value)
    assert hosts(fill(ipam, "a", "p", 4)) == [0, 1, 2, 3]
    with pytest.raises(IPAMError) as error:
        ipam.assign("a", "p4")
    assert "strict" not in str(error.value), "no block has an address left"


def test_the_limit_of_blocks_is_named_when_it_is_what_stops_a_node():
    ipam = IPAM([pool("10.0.0.0/16", 32)])
    fill(ipam, "a", "p", 20)
    with pytest.raises(IPAMError, match="20 blocks"):
        ipam.assign("a", "p20")


# --- an address that was asked for

def test_an_explicit_address_takes_its_ordinal_and_the_others_follow_around_it():
    ipam = one_block()
    assert ipam.assign_ip("a", "fixed", ip("10.0.0.1")) == ip("10.0.0.1")
    assert hosts(fill(ipam, "a", "p", 3)) == [0, 2, 3]
    ipam.release("fixed")
    assert ipam.assign("a", "q") == ip("10.0.0.1")


def test_an_explicit_address_claims_a_block_without_affinity():
    ipam = IPAM([pool("10.0.0.0/24", 26)])
    ipam.assign_ip("a", "fixed", ip("10.0.0.77"))
    assert ipam.blocks("a") == (net("10.0.0.64/26"),)
    assert ipam.borrowed("a") == ()
    assert ipam.assign("a", "p") == ip("10.0.0.64")


def test_an_explicit_address_in_another_nodes_block_is_borrowed():
    ipam = one_block("a")
    ipam.assign_ip("b", "fixed", ip("10.0.0.3"))
    assert ipam.borrowed("b") == (ip("10.0.0.3"),)
    assert ipam.blocks("b") == ()


@pytest.mark.parametrize(("address", "configuration", "says"), [
    pytest.param("10.0.0.0", None, r"10\.0\.0\.0 is taken by p0", id="taken"),
    pytest.param("10.9.0.1", None, "no enabled IPPool", id="outside-the-pools"),
    pytest.param("10.1.0.1", None, "no enabled IPPool", id="in-a-disabled-pool"),
    pytest.param("10.0.0.3", STRICT, "a block of a, and affinity is strict", id="strict"),
])
def test_an_explicit_address_is_refused(address, configuration, says):
    ipam = IPAM([pool("10.0.0.0/30", 30), pool("10.1.0.0/30", 30, disabled=True)],
                [BlockAffinity("a", net("10.0.0.0/30"))], configuration)
    fill(ipam, "a", "p", 1)
    before = ipam.affinities()
    with pytest.raises(IPAMError, match=says):
        ipam.assign_ip("b", "default/fixed", ip(address))
    assert ipam.allocation("default/fixed") is None
    assert ipam.affinities() == before
    assert ipam.borrowed("b") == ()


def test_strict_affinity_refuses_an_explicit_address_in_a_block_of_no_node():
    ipam = IPAM([pool("10.0.0.0/30", 30)], [BlockAffinity("a", net("10.0.0.0/30"))], STRICT)
    ipam.assign("a", "p")
    ipam.release_affinity("a")
    with pytest.raises(IPAMError, match="a block of no node"):
        ipam.assign_ip("b", "fixed", ip("10.0.0.3"))


# --- pools

def test_a_disabled_pool_gives_nothing_new_and_its_block_stays():
    pools = [pool("10.1.0.0/30", 30, disabled=True), pool("10.0.0.0/30", 30)]
    ipam = IPAM(pools, [BlockAffinity("a", net("10.1.0.0/30"))])
    assert hosts(fill(ipam, "a", "p", 4)) == [0, 1, 2, 3]
    assert all(ipam.allocation(f"p{i}").block == net("10.0.0.0/30") for i in range(4))
    with pytest.raises(IPAMError):
        ipam.assign("a", "p4")
    assert net("10.1.0.0/30") in ipam.blocks("a")


def test_with_all_pools_disabled_the_error_says_so():
    ipam = IPAM([pool("10.1.0.0/30", 30, disabled=True)])
    with pytest.raises(IPAMError, match="no enabled IPPool"):
        ipam.assign("a", "p")


def test_the_first_pool_is_used_up_before_the_second_one():
    ipam = IPAM([pool("10.0.0.0/30", 30), pool("10.1.0.0/29", 29)])
    given = fill(ipam, "a", "p", 12)
    assert [a in net("10.0.0.0/30") for a in given] == [True] * 4 + [False] * 8
    with pytest.raises(IPAMError, match=r"10\.0\.0\.0/30.*10\.1\.0\.0/29"):
        ipam.assign("a", "p12")


def test_a_new_block_of_the_second_pool_comes_before_borrowing_from_the_first():
    ipam = IPAM([pool("10.0.0.0/30", 30), pool("10.1.0.0/30", 30)],
                [BlockAffinity("a", net("10.0.0.0/30"))])
    assert ipam.assign("b", "p") == ip("10.1.0.0")


def test_asking_for_one_pool_passes_over_own_blocks_of_another():
    one, two = pool("10.0.0.0/24", 26), pool("10.1.0.0/24", 26)
    ipam = IPAM([one, two])
    ipam.assign("a", "p")
    address = ipam.assign("a", "q", [two])
    assert address in two.cidr
    assert len(ipam.blocks("a")) == 2
    assert ipam.assign("a", "r", [one]) in one.cidr
    assert len(ipam.blocks("a")) == 2


# --- release

def test_an_empty_block_without_affinity_disappears_and_can_be_claimed_again():
    ipam = one_block("a")
    ipam.assign("b", "borrowed")
    ipam.release_affinity("a")
    assert ipam.blocks("a") == ()
    assert ipam.borrowed("b") == (ip("10.0.0.0"),)
    ipam.release("borrowed")
    assert ipam.affinities() == ()
    assert ipam.assign("c", "p") == ip("10.0.0.0"), "a new block is fresh: lowest first"
    assert ipam.blocks("c") == (net("10.0.0.0/30"),)


def test_releasing_the_affinity_of_a_block_in_use_drops_the_affinity_only():
    ipam = one_block("a")
    first = ipam.assign("a", "p")
    ipam.release_affinity("a")
    assert ipam.allocation("p").address == first
    assert ipam.borrowed("a") == (first,), "outside of its blocks now"
    assert ipam.assign("b", "q") == ip("10.0.0.1")
    assert ipam.borrowed("b") == (ip("10.0.0.1"),)
    assert ipam.affinities() == (BlockAffinity("", net("10.0.0.0/30")),)


def test_an_empty_block_with_affinity_stays():
    ipam = one_block("a")
    ipam.assign("a", "p")
    ipam.release("p")
    assert ipam.blocks("a") == (net("10.0.0.0/30"),)


def test_releasing_the_affinity_of_an_unknown_node_does_nothing():
    ipam = one_block("a")
    ipam.release_affinity("unknown-node")
    assert ipam.blocks("a") == (net("10.0.0.0/30"),)


# --- the tunnel address

def test_the_tunnel_address_is_the_first_of_the_first_block_and_pods_follow():
    made = cluster(pods=[pod("one", "node31"), pod("two", "node31"), pod("far", "node32")])
    assert made.tunnel_address("node31") == ip("10.22.138.0")
    assert made.tunnel_address("node32") == ip("10.22.151.0")
    assert [e.address for e in made.pods_on("node31")] == [ip("10.22.138.1"), ip("10.22.138.2")]
    assert [e.address for e in made.pods_on("node32")] == [ip("10.22.151.1")]


def test_a_pod_that_asks_for_the_first_address_has_it_and_the_tunnel_takes_the_next():
    made = cluster(pods=[pod("greedy", "node31", "10.22.138.0"), pod("late", "node31")])
    assert made.endpoint("default/greedy").address == ip("10.22.138.0")
    assert made.tunnel_address("node31") == ip("10.22.138.1")
    assert made.endpoint("default/late").address == ip("10.22.138.2")


def test_the_same_history_gives_the_same_addresses():
    def history():
        ipam, steps = IPAM([pool("10.0.0.0/24", 28)]), random.Random(1)
        for i in range(200):
            if steps.random() < 0.3:
                ipam.release(f"p{steps.randrange(i + 1)}")
            else:
                ipam.assign(f"n{steps.randrange(4)}", f"p{i}")
        return [ipam.allocation(f"p{i}") for i in range(200)], ipam.affinities()

    assert history() == history()

"""IPAM under random histories, checked against what must hold and not against a second IPAM."""

from ipaddress import IPv4Address, IPv4Network

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from calico_mn.calico.ipam import IPAM
from calico_mn.errors import IPAMError
from calico_mn.model import BlockAffinity, IPAMConfiguration

from .clusters import net, pool

NODES = ("a", "b", "c")
POOLS = (pool("10.0.0.0/28", 30), pool("10.0.1.0/30", 31), pool("10.0.2.0/30", 32),
         pool("10.0.3.0/29", 30, disabled=True))
ENABLED = POOLS[:3]
ADDRESSES = [address for p in POOLS for address in p.cidr] + [IPv4Address("10.9.9.9")]


def block_of(address):
    holder = next(p for p in POOLS if address in p.cidr)
    return IPv4Network((address, holder.block_size), strict=False)


class AddressBook(RuleBasedStateMachine):
    """Keeps who has which address and which block, told by IPAM's answers alone."""

    @initialize(strict=st.booleans(), limit=st.sampled_from([0, 1, 2, 5]),
                pinned=st.booleans(), some=st.integers(1, 3))
    def begin(self, strict, limit, pinned, some):
        self.enabled = ENABLED[:some]
        self.strict, self.limit = strict, limit or 20
        claims = [BlockAffinity("a", net("10.0.0.8/30"))] if pinned else []
        self.make = lambda: IPAM((*self.enabled, POOLS[3]), claims,
                                 IPAMConfiguration(strict, limit))
        self.ipam = self.make()
        self.owner = {claim.cidr: claim.node for claim in claims}
        self.held = {}
        self.fresh = {claim.cidr: set(claim.cidr) for claim in claims}
        self.waiting = {}
        self.history = []
        self.count = 0

    def used(self, block):
        return {address for address, _ in self.held.values() if address in block}

    def free(self, block):
        return set(block) - self.used(block)

    def own(self, node):
        return [block for block, owner in self.owner.items() if owner == node]

    def in_enabled(self, block):
        return any(block.subnet_of(p.cidr) for p in self.enabled)

    def unclaimed(self):
        return [block for p in self.enabled for block in p.cidr.subnets(new_prefix=p.block_size)
                if block not in self.owner]

    def took(self, node, handle, address):
        block = block_of(address)
        if block not in self.owner:
            self.owner[block] = node
            self.fresh[block] = set(block)
        self.held[handle] = (address, node)
        self.fresh[block].discard(address)
        self.waiting.pop(address, None)
        for others in self.waiting.values():
            others.discard(address)

    def ask(self, call, *arguments):
        try:
            answer = getattr(self.ipam, call)(*arguments)
        except IPAMError:
            answer = IPAMError
        self.history.append((call, arguments, answer))
        return answer

    @rule(node=st.sampled_from(NODES))
    def assign(self, node):
        handle = f"pod-{self.count}"
        self.count += 1
        own = [b for b in self.own(node) if self.in_enabled(b) and self.free(b)]
        may_claim = sum(map(self.in_enabled, self.own(node))) < self.limit
        new = self.unclaimed() if may_claim else []
        foreign = [] if self.strict or not may_claim else [
            b for b, owner in self.owner.items()
            if owner != node and self.in_enabled(b) and self.free(b)]
        candidates = own or new or foreign
        address = self.ask("assign", node, handle)
        if not candidates:
            assert address is IPAMError, "nothing usable was left"
            return
        assert address is not IPAMError, f"usable: {candidates}"
        block = block_of(address)
        assert block in candidates, "a better block was passed over"
        assert address in self.free(block), "the address was in use"
        fresh = self.fresh.get(block, set(block))
        if address in fresh:
            assert address == min(fresh), "a fresh block goes lowest first"
        else:
            assert not fresh, "a released address came before a fresh one"
            assert not self.waiting[address], "a released address came before its block wrapped"
        self.took(node, handle, address)

    @rule(node=st.sampled_from(NODES), address=st.sampled_from(ADDRESSES))
    def assign_ip(self, node, address):
        handle = f"pod-{self.count}"
        self.count += 1
        allowed = any(address in p.cidr for p in self.enabled)
        if allowed:
            block = block_of(address)
            allowed = (address not in self.used(block)
                       and not (self.strict and self.owner.get(block, node) != node))
        answer = self.ask("assign_ip", node, handle, address)
        assert answer == (address if allowed else IPAMError)
        if allowed:
            self.took(node, handle, address)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data):
        handle = data.draw(st.sampled_from(sorted(self.held)))
        address, _ = self.held.pop(handle)
        block = block_of(address)
        assert self.ask("release", handle) == address
        self.waiting[address] = self.free(block) - {address}
        self.forget(block)

    @rule(node=st.sampled_from(NODES))
    def release_affinity(self, node):
        self.ask("release_affinity", node)
        for block in self.own(node):
            self.owner[block] = ""
            self.forget(block)

    def forget(self, block):
        """An empty block without affinity is deleted; a new one starts at its first address."""
        if not self.owner[block] and not self.used(block):
            del self.owner[block], self.fresh[block]
            for address in block:
                self.waiting.pop(address, None)

    @invariant()
    def no_address_is_given_twice(self):
        given = [address for address, _ in self.held.values()]
        assert len(given) == len(set(given))

    @invariant()
    def every_address_lies_in_an_enabled_pool_and_in_its_block(self):
        for handle, (address, node) in self.held.items():
            allocation = self.ipam.allocation(handle)
            assert (allocation.address, allocation.node) == (address, node)
            assert allocation.block == block_of(address)
            assert any(address in p.cidr for p in self.enabled)

    @invariant()
    def claims_and_loans_are_as_told(self):
        assert {(a.node, a.cidr) for a in self.ipam.affinities()} == {
            (owner, block) for block, owner in self.owner.items()}
        for node in NODES:
            assert sorted(self.ipam.blocks(node)) == sorted(self.own(node))
            assert set(self.ipam.borrowed(node)) == {
                address for address, on in self.held.values()
                if on == node and self.owner[block_of(address)] != node}

    @invariant()
    def nothing_is_lost(self):
        for block in self.ipam._blocks.values():
            assert len(block.free) + len(block.used) == block.cidr.num_addresses
            assert set(block.free) | set(block.used) == set(range(block.cidr.num_addresses))

    def teardown(self):
        if not hasattr(self, "history"):
            return
        replayed, history = self.make(), self.history
        self.ipam, self.history = replayed, []
        for call, arguments, _ in history:
            self.ask(call, *arguments)
        assert self.history == history


TestAddressBook = AddressBook.TestCase
TestAddressBook.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

// SPDX-License-Identifier: GPL-2.0-only
/*
 * Calico's tunl0 for a kernel without the ipip module: a TUN device of type ARPHRD_TUNNEL does
 * the looking like tunl0, and the programs in this file do the work of net/ipv4/ipip.c.
 *
 *   section            attached to                 does
 *   tunl0/egress       clsact egress of tunl0      encapsulates
 *   lo/egress          clsact egress of lo         decapsulates into tunl0 what INPUT has let in
 *   underlay/ingress   clsact ingress of a NIC     the same at once, where INPUT would let it in
 *   raw/reassembled    a socket of the node        takes what came in fragments
 *   helpers/probe      nothing, it is run once     1 if the kernel's helpers are too old
 *   helpers/peek       nothing, it is run          tells what is at an address of the kernel
 *
 * The routing tables of the namespace are the only truth, as they are for the kernel's tunl0. The
 * one map holds what is no more than a saving of time: what was found out about a namespace's
 * rules. Routes of outer packets are asked for on behalf of lo, whose forwarding the attendant
 * keeps on: bpf_fib_lookup() answers nothing otherwise. The constants are the indexes of lo and
 * tunl0, the same in every namespace, and offsets that the loader puts in.
 *
 * ./build.sh rebuilds the object.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define LO_IFINDEX 1
#define TUNL0_IFINDEX 2		/* whenever it is made */

#define AF_INET 2
#define EALREADY 114
#define EINVAL 22
#define IP_DF bpf_htons(0x4000)
#define IP_MORE_OR_OFFSET bpf_htons(0x3fff)
#define IP_OFFSET bpf_htons(0x1fff)
#define IPTOS_PREC_INTERNETCONTROL 0xc0
#define ICMP_DEST_UNREACH 3
#define ICMP_FRAG_NEEDED 4
#define UDP_HLEN 8
#define TCP_WORDS_AT 12		/* the byte that begins with the header's length in 32-bit words */
#define ICMP_QUOTE 128		/* how much of a packet an ICMP error returns: headers, and some more */
#define DSCP_MASK 0xfc
#define ECN_MASK 0x03
#define ECN_NOT_ECT 0
#define ECN_ECT_1 1
#define ECN_ECT_0 2
#define ECN_CE 3

/* Where the rule at the end of INPUT has an IPIP packet decapsulated: the reserved protocol. */
#define HANDED_OVER 255

/*
 * Offsets in the kernel's structures, in bytes: the loader puts in those of the kernel at work,
 * from its BTF, for the numbers here (program.py). They are 0 where it does not tell.
 */
#define FROM_BTF(number) ({ long offset; asm("%0 = " #number : "=r"(offset)); offset; })
#define OFFSET_OF_DEV 16			/* sk_buff: dev, after next and prev */
#define OFFSET_OF_CB FROM_BTF(0x7475c003)	/* sk_buff: cb, and behind it _skb_refdst */
#define CB_SIZE 48
#define OFFSET_OF_GATEWAY FROM_BTF(0x7475c004)	/* rtable: rt_gw_family, and behind it rt_gw4 */
#define OFFSET_OF_NET FROM_BTF(0x7475c001)	/* net_device: nd_net */
#define OFFSET_OF_DEV_CAPTURES FROM_BTF(0x7475c005) /* net_device: ptype_all */
#define OFFSET_OF_NET_CAPTURES FROM_BTF(0x7475c006) /* net: ptype_all, since Linux 6.16 */
#define OFFSET_OF_LARGEST FROM_BTF(0x7475c007)	/* sk_buff: cb as inet_skb_parm: frag_max_size */
#define OFFSET_OF_HOOKS FROM_BTF(0x7475c002)	/* net: nf.hooks_ipv4 */

/* The table of those whose IPIP packets Felix's rules accept (ALLOWED_SOURCES in state.py). */
#define ALLOWED_SOURCES 4040

/*
 * What seal.py found out about a namespace's rules, by the address of its struct net: whether they
 * let IPIP packets from allowed sources in, which is true as long as the words of the kernel's
 * memory at these addresses are the same. The address 0 ends them.
 */
#define SEALED_WORDS 20
struct seal {
	__u64 lets_in;
	struct { __u64 address, value; } words[SEALED_WORDS];
};
/* The loader makes the number a reference to the map. */
#define SEALS ({ void *map; asm("%0 = 0x7475c010 ll" : "=r"(map)); map; })

/* In skb->cb of the copy that tunl0_egress() makes for captures; any improbable number will do. */
#define COPY_FOR_CAPTURES 0x7475c0de

const char license_name[] SEC("license") = "GPL";

/* Which source and which compiler made the object, so that the two can be shown to agree. */
const char source_digest[] SEC("source_sha256") = SOURCE_SHA256;
const char compiler_version[] SEC("compiler") = __VERSION__;

/* The Internet checksum of a header without options; 0 if it is over one with a right checksum. */
static __always_inline __u16 header_checksum(const struct iphdr *header)
{
	const __u16 *words = (const __u16 *)header;
	__u32 sum = 0;

#pragma unroll
	for (unsigned int i = 0; i < sizeof(*header) / sizeof(*words); i++)
		sum += words[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)~sum;
}

static __always_inline int is_plausible_ipv4(const struct iphdr *header)
{
	return header->version == 4 && header->ihl >= 5;
}

static __always_inline void *pointer_at(const void *address)
{
	void *pointer = 0;

	bpf_probe_read_kernel(&pointer, sizeof(pointer), address);
	return pointer;
}

/*
 * The outer destination: the gateway of the route that led to tunl0, or the inner destination
 * where the route has none (ip_tunnel_xmit() with no remote address; rt_nexthop()). 0 if there
 * is no such route. The packet has its route with it, unless it was written into the device.
 */
static __always_inline __be32 outer_destination(struct __sk_buff *skb, const struct iphdr *inner)
{
	struct { __u8 family, padding[3]; __be32 address; } gateway;
	struct bpf_fib_lookup route = {
		.family = AF_INET,
		.ifindex = skb->ifindex,
		.tos = inner->tos & DSCP_MASK,
		.ipv4_src = inner->saddr,
		.ipv4_dst = inner->daddr,
	};
	void *dst = 0;
	long result;

	if (OFFSET_OF_GATEWAY)
		dst = (void *)((long)pointer_at((void *)skb + OFFSET_OF_CB + CB_SIZE) & ~1L);
	if (dst && !bpf_probe_read_kernel(&gateway, sizeof(gateway), dst + OFFSET_OF_GATEWAY))
		return gateway.family == AF_INET ? gateway.address :
		       gateway.family ? 0 : inner->daddr;

	result = bpf_fib_lookup(skb, &route, sizeof(route),
				BPF_FIB_LOOKUP_OUTPUT | BPF_FIB_LOOKUP_SKIP_NEIGH);
	/* Whether the inner packet is too long for tunl0 is decided by the stack before. */
	if (result != BPF_FIB_LKUP_RET_SUCCESS && result != BPF_FIB_LKUP_RET_FRAG_NEEDED)
		return 0;
	return route.family == AF_INET ? route.ipv4_dst : 0;
}

/*
 * Route a packet of our own to a destination: BPF_FIB_LKUP_RET_SUCCESS, with device and source
 * address in the route, or FRAG_NEEDED, with the MTU, if it is longer than that of the device or
 * what is known of the path. A length of 0 always fits.
 */
static __always_inline long route_out(struct __sk_buff *skb, struct bpf_fib_lookup *route,
				      __be32 destination, __u16 length)
{
	long result;

	__builtin_memset(route, 0, sizeof(*route));
	route->family = AF_INET;
	route->l4_protocol = IPPROTO_IPIP;
	route->tot_len = length;
	route->ifindex = LO_IFINDEX;
	route->ipv4_dst = destination;
	result = bpf_fib_lookup(skb, route, sizeof(*route),
				BPF_FIB_LOOKUP_SKIP_NEIGH | BPF_FIB_LOOKUP_SRC);
	/* Without a length, the longest segment of the packet is compared, with the device alone. */
	return result == BPF_FIB_LKUP_RET_FRAG_NEEDED && !length ? BPF_FIB_LKUP_RET_SUCCESS : result;
}

/* The length of a packet, or of the longest segment of a super-packet (skb_gso_network_seglen()). */
static __always_inline __u32 network_length(struct __sk_buff *skb, const struct iphdr *header)
{
	__u32 length = header->ihl * 4;
	__u8 words = 0;

	if (!skb->gso_size)
		return skb->len;
	if (header->protocol != IPPROTO_TCP)
		return length + UDP_HLEN + skb->gso_size;
	bpf_skb_load_bytes(skb, length + TCP_WORDS_AT, &words, sizeof(words));
	return length + (words >> 4) * 4 + skb->gso_size;
}

/*
 * Have a packet that has room for an Ethernet header come in by lo: to the node itself, or forwarded,
 * in fragments if need be, which costs the TTL one. For this, lo has forwarding and accept_local on.
 */
static __always_inline int come_from_lo(struct __sk_buff *skb)
{
	const __be16 ipv4 = bpf_htons(ETH_P_IP);

	if (bpf_skb_store_bytes(skb, ETH_HLEN - sizeof(ipv4), &ipv4, sizeof(ipv4), 0))
		return TC_ACT_SHOT;
	return bpf_redirect(LO_IFINDEX, BPF_F_INGRESS);
}

/*
 * Tell the sender of a packet with DF that it is too long, as tnl_update_pmtu() does by
 * icmp_send(): the packet becomes the answer. If there is no way back, the sender is the node.
 */
static __always_inline int answer_too_long(struct __sk_buff *skb, const struct iphdr *inner,
					   __u16 mtu)
{
	struct bpf_fib_lookup back;
	struct {
		struct iphdr ip;
		struct { __u8 type, code; __be16 checksum, unused, mtu; } icmp;
		__u8 quote[ICMP_QUOTE];
	} answer;
	long result = route_out(skb, &back, inner->saddr, 0);
	__u64 sum;

	if ((inner->frag_off & IP_OFFSET) ||
	    bpf_skb_load_bytes(skb, 0, answer.quote, sizeof(answer.quote)) ||
	    bpf_skb_change_tail(skb, sizeof(answer), 0))
		return TC_ACT_SHOT;
	__builtin_memset(&answer, 0, sizeof(answer.ip) + sizeof(answer.icmp));
	answer.ip.version = 4;
	answer.ip.ihl = sizeof(answer.ip) / 4;
	answer.ip.tos = IPTOS_PREC_INTERNETCONTROL;
	answer.ip.tot_len = bpf_htons(sizeof(answer));
	answer.ip.ttl = result ? 64 : 65;
	answer.ip.protocol = IPPROTO_ICMP;
	answer.ip.saddr = result ? inner->saddr : back.ipv4_src;
	answer.ip.daddr = inner->saddr;
	answer.ip.check = header_checksum(&answer.ip);
	answer.icmp.type = ICMP_DEST_UNREACH;
	answer.icmp.code = ICMP_FRAG_NEEDED;
	answer.icmp.mtu = bpf_htons(mtu);
	sum = bpf_csum_diff(0, 0, (void *)&answer.icmp, sizeof(answer) - sizeof(answer.ip), 0);
	sum = (sum & 0xffff) + (sum >> 16);
	answer.icmp.checksum = ~(__u16)((sum & 0xffff) + (sum >> 16));
	if (bpf_skb_store_bytes(skb, 0, &answer, sizeof(answer), 0))
		return TC_ACT_SHOT;

	return bpf_skb_change_head(skb, ETH_HLEN, 0) ? TC_ACT_SHOT : come_from_lo(skb);
}

/*
 * Does a capture on tunl0 or on all devices want to see what is sent? (dev_nit_active(): are
 * skb->dev->ptype_all and skb->dev->nd_net.net->ptype_all, lists, not empty.)
 */
static __always_inline int is_captured(struct __sk_buff *skb)
{
	void *dev, *net;

	if (!OFFSET_OF_DEV_CAPTURES || !OFFSET_OF_NET_CAPTURES)
		return 1;
	dev = pointer_at((void *)skb + OFFSET_OF_DEV);
	net = pointer_at(dev + OFFSET_OF_NET);
	return pointer_at(dev + OFFSET_OF_DEV_CAPTURES) != dev + OFFSET_OF_DEV_CAPTURES ||
	       pointer_at(net + OFFSET_OF_NET_CAPTURES) != net + OFFSET_OF_NET_CAPTURES;
}

SEC("tunl0/egress")
int tunl0_egress(struct __sk_buff *skb)
{
	struct bpf_fib_lookup route;
	struct iphdr inner, outer = {};
	__u32 saved, length;
	long error, result;
	int in_fragments = 0;
	__u8 ecn;

	if (skb->cb[0] == COPY_FOR_CAPTURES)
		return TC_ACT_OK;
	if (skb->protocol != bpf_htons(ETH_P_IP))
		return TC_ACT_SHOT;
	if (bpf_skb_load_bytes(skb, 0, &inner, sizeof(inner)) || !is_plausible_ipv4(&inner))
		return TC_ACT_SHOT;

	outer.daddr = outer_destination(skb, &inner);
	if (!outer.daddr)
		return TC_ACT_SHOT;
	length = network_length(skb, &inner) + sizeof(outer);
	result = route_out(skb, &route, outer.daddr, length > 0xffff ? 0xffff : length);
	if (result == BPF_FIB_LKUP_RET_FRAG_NEEDED) {
		if (inner.frag_off & IP_DF)
			return answer_too_long(skb, &inner, route.mtu_result - sizeof(outer));
		result = route_out(skb, &route, outer.daddr, 0);
		in_fragments = 1;
	}
	/* The tunnel's packets would enter the tunnel: that is ipip's "collision". */
	if (result || route.ifindex == skb->ifindex)
		return TC_ACT_SHOT;

	/* INET_ECN_encapsulate(): the inner ECN field, but a CE stays inside. DSCP is 0. */
	ecn = inner.tos & ECN_MASK;
	length = skb->len + sizeof(outer);
	outer.version = 4;
	outer.ihl = sizeof(outer) / 4;
	outer.tos = ecn == ECN_CE ? ECN_ECT_0 : ecn;
	/* iph_set_totlen(): a super-packet may be too long for the field; segments get their own. */
	outer.tot_len = length > 0xffff ? 0 : bpf_htons(length);
	outer.id = bpf_get_prandom_u32() | bpf_htons(1);
	outer.frag_off = inner.frag_off & IP_DF;
	outer.ttl = inner.ttl + in_fragments;
	outer.protocol = IPPROTO_IPIP;
	outer.saddr = route.ipv4_src;
	outer.check = header_checksum(&outer);

	if (is_captured(skb)) {
		/*
		 * Captures see what reaches the device's transmit routine, and the packet itself
		 * never does. The copy comes back to this program, which lets it pass, and the TUN
		 * device's own filter then eats it.
		 */
		saved = skb->cb[0];
		skb->cb[0] = COPY_FOR_CAPTURES;
		bpf_clone_redirect(skb, skb->ifindex, 0);
		skb->cb[0] = saved;
	}

	/*
	 * The packet begins with its IP header. The helpers want an Ethernet header, so make one
	 * (zeros will do: bpf_redirect_neigh() replaces it), and room for the outer IP after it.
	 */
	if (bpf_skb_change_head(skb, ETH_HLEN, 0))
		return TC_ACT_SHOT;
	error = bpf_skb_adjust_room(skb, sizeof(outer), BPF_ADJ_ROOM_MAC,
				    BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_FIXED_GSO);
	/*
	 * A packet that came out of a tunnel here (to be sent into it again, which happens with
	 * borrowed addresses) is still marked as encapsulated, its inner offsets are right, and
	 * only the room is missing. iptunnel_handle_offloads() makes the same distinction.
	 */
	if (error == -EALREADY)
		error = bpf_skb_adjust_room(skb, sizeof(outer), BPF_ADJ_ROOM_MAC,
					    BPF_F_ADJ_ROOM_FIXED_GSO);
	if (error)
		return TC_ACT_SHOT;
	if (bpf_skb_store_bytes(skb, ETH_HLEN, &outer, sizeof(outer), 0))
		return TC_ACT_SHOT;

	if (in_fragments)
		return come_from_lo(skb);

	/*
	 * The kernel routes the outer packet, resolves the neighbour and transmits. With explicit
	 * next-hop parameters the packet would keep tunl0's route, and when it had to wait for
	 * ARP it would be sent to that route's neighbour afterwards: lost.
	 */
	return bpf_redirect_neigh(route.ifindex, 0, 0, 0);
}

/* The address from which this host itself would send to another one, if by that packet's device. */
static __always_inline __be32 own_address_towards(struct __sk_buff *skb, __be32 destination)
{
	struct bpf_fib_lookup route = {
		.family = AF_INET,
		.ifindex = skb->ifindex,
		.ipv4_dst = destination,
	};
	long result = bpf_fib_lookup(skb, &route, sizeof(route),
				     BPF_FIB_LOOKUP_SKIP_NEIGH | BPF_FIB_LOOKUP_SRC);

	if (result != BPF_FIB_LKUP_RET_SUCCESS && result != BPF_FIB_LKUP_RET_FRAG_NEEDED)
		return 0;
	return route.ifindex == skb->ifindex ? route.ipv4_src : 0;
}

static __always_inline void *net_of(struct __sk_buff *skb)
{
	return pointer_at(pointer_at((void *)skb + OFFSET_OF_DEV) + OFFSET_OF_NET);
}

/*
 * Would a packet from the underlay meet no hook in PREROUTING and INPUT but the last one, which
 * hands it to lo_egress()? In the kernel's words: net->nf.hooks_ipv4[] is NULL for the first and
 * has one entry for the second; none where the kernel has no such rule.
 */
static __always_inline int is_unfiltered(void *net)
{
	struct { void *prerouting, *input; } hooks;
	__u16 entries = 0;

	if (!OFFSET_OF_HOOKS ||
	    bpf_probe_read_kernel(&hooks, sizeof(hooks), net + OFFSET_OF_HOOKS) ||
	    hooks.prerouting ||
	    (hooks.input && bpf_probe_read_kernel(&entries, sizeof(entries), hooks.input)))
		return 0;
	return entries <= 1;
}

/* What is known of a namespace's rules; NULL if nothing is, or they have changed since. */
static __always_inline const struct seal *current_seal(void *net)
{
	__u64 key = (__u64)net;
	const struct seal *seal = bpf_map_lookup_elem(SEALS, &key);

	if (!seal)
		return 0;
	for (int i = 0; i < SEALED_WORDS; i++) {
		if (!seal->words[i].address)
			return seal;
		if ((__u64)pointer_at((void *)seal->words[i].address) != seal->words[i].value)
			return 0;
	}
	return seal;
}

/* Do Felix's rules accept IPIP packets from this source, by the routes that stand for its set? */
static __always_inline int is_allowed(struct __sk_buff *skb, __be32 source)
{
	struct bpf_fib_lookup route = {
		.family = AF_INET,
		.ifindex = skb->ifindex,
		.ipv4_dst = source,
		.tbid = ALLOWED_SOURCES,
	};

	return bpf_fib_lookup(skb, &route, sizeof(route),
			      BPF_FIB_LOOKUP_DIRECT | BPF_FIB_LOOKUP_TBID |
			      BPF_FIB_LOOKUP_SKIP_NEIGH) == BPF_FIB_LKUP_RET_BLACKHOLE;
}

/* Would PREROUTING and INPUT let in an IPIP packet from this source, and do nothing else with it? */
static __always_inline int is_let_in(struct __sk_buff *skb, __be32 source)
{
	void *net = net_of(skb);
	const struct seal *seal = current_seal(net);

	return seal && seal->lets_in ? is_allowed(skb, source) : is_unfiltered(net);
}

/*
 * What INET_ECN_decapsulate() makes of the inner field (RFC 6040, section 4.2), or -1 for the
 * one combination that must be dropped: congestion on the way of a sender who cannot be told.
 */
static __always_inline int decapsulated_ecn(__u8 outer, __u8 inner)
{
	if (inner == ECN_NOT_ECT)
		return outer == ECN_CE ? -1 : ECN_NOT_ECT;
	if (outer == ECN_CE)
		return ECN_CE;
	if (outer == ECN_ECT_1 && inner == ECN_ECT_0)
		return ECN_ECT_1;
	return inner;
}

/*
 * Take the outer header off and have tunl0 receive the inner packet, as ip_tunnel_rcv() does. What
 * is malformed inside is dropped, as ip_rcv() would do after decapsulation. While tunl0 is down the
 * redirection drops, which shows as "dropped" in tunl0's receive counters; the module would answer
 * "port unreachable" as well.
 */
static __always_inline int decapsulate(struct __sk_buff *skb, const struct iphdr *outer)
{
	const __u32 length = outer->ihl * 4, inner_at = ETH_HLEN + length;
	struct iphdr inner;
	__be16 before, after;
	int ecn;

	if (bpf_skb_load_bytes(skb, inner_at, &inner, sizeof(inner)) || !is_plausible_ipv4(&inner))
		return TC_ACT_SHOT;
	ecn = decapsulated_ecn(outer->tos & ECN_MASK, inner.tos & ECN_MASK);
	if (ecn < 0)
		return TC_ACT_SHOT;
	if (ecn != (inner.tos & ECN_MASK)) {
		__builtin_memcpy(&before, &inner, sizeof(before));
		inner.tos = (inner.tos & DSCP_MASK) | ecn;
		__builtin_memcpy(&after, &inner, sizeof(after));
		if (bpf_skb_store_bytes(skb, inner_at, &after, sizeof(after), 0) ||
		    bpf_l3_csum_replace(skb, inner_at + __builtin_offsetof(struct iphdr, check),
					before, after, sizeof(after)))
			return TC_ACT_SHOT;
	}

	if (bpf_skb_adjust_room(skb, -(int)length, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO))
		return TC_ACT_SHOT;
	return bpf_redirect(TUNL0_IFINDEX, BPF_F_INGRESS);
}

/*
 * The way of an IPIP packet into tunl0: as any packet for this host, through the stack and its
 * hooks up to the end of INPUT, where a rule (handover.py) gives its outer header protocol 255 and
 * sends it to lo. It is a whole packet then, for one of our addresses, from whichever device.
 */
SEC("lo/egress")
int lo_egress(struct __sk_buff *skb)
{
	struct iphdr outer;

	if (skb->protocol != bpf_htons(ETH_P_IP) ||
	    bpf_skb_load_bytes(skb, ETH_HLEN, &outer, sizeof(outer)) ||
	    outer.protocol != HANDED_OVER)
		return TC_ACT_UNSPEC;
	return decapsulate(skb, &outer);
}

/*
 * Which packets a raw socket of protocol 4 gets: those that came in fragments. The stack has put
 * them together and lets them no more out by lo than by any other device (ip_fragment()). Of others
 * it gets one byte while nothing is known of the rules that they have passed: a request to look.
 */
SEC("raw/reassembled")
int raw_reassembled(struct __sk_buff *skb)
{
	__u16 largest = 0;

	if (OFFSET_OF_LARGEST)
		bpf_probe_read_kernel(&largest, sizeof(largest), (void *)skb + OFFSET_OF_LARGEST);
	if (largest || !OFFSET_OF_NET)
		return largest ? skb->len : 0;
	return !current_seal(net_of(skb));
}

/*
 * The short cut, which saves a third of the costs: where no hook would do more than let the packet
 * in, and where one lookup proves that the stack would take it, for it is for the very address from
 * which we would send to its sender, by the same device. All else goes the long way.
 */
SEC("underlay/ingress")
int underlay_ingress(struct __sk_buff *skb)
{
	struct iphdr outer;

	if (skb->protocol != bpf_htons(ETH_P_IP) || skb->pkt_type != PACKET_HOST)
		return TC_ACT_UNSPEC;
	if (bpf_skb_load_bytes(skb, ETH_HLEN, &outer, sizeof(outer)))
		return TC_ACT_UNSPEC;
	if (outer.protocol != IPPROTO_IPIP || outer.version != 4 || outer.ihl != 5 ||
	    (outer.frag_off & IP_MORE_OR_OFFSET) || header_checksum(&outer) ||
	    own_address_towards(skb, outer.saddr) != outer.daddr || !is_let_in(skb, outer.saddr))
		return TC_ACT_UNSPEC;
	return decapsulate(skb, &outer);
}

/*
 * Do the flags of bpf_fib_lookup() used above exist? Run by BPF_PROG_TEST_RUN, where the packet
 * belongs to lo: any answer but EINVAL says that they do.
 */
SEC("helpers/probe")
int probe(struct __sk_buff *skb)
{
	struct bpf_fib_lookup route = { .family = AF_INET, .ifindex = 1 };

	return bpf_fib_lookup(skb, &route, sizeof(route),
			      BPF_FIB_LOOKUP_SKIP_NEIGH | BPF_FIB_LOOKUP_SRC |
			      BPF_FIB_LOOKUP_DIRECT | BPF_FIB_LOOKUP_TBID) == -EINVAL;
}

/*
 * Tell what is in the kernel's memory at the address behind the Ethernet header, in place of it;
 * the address of this namespace's struct net for the address 0. Not 0 if there is nothing to read.
 */
SEC("helpers/peek")
int peek(struct __sk_buff *skb)
{
	__u64 address, memory[8] = {};

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &address, sizeof(address)))
		return 1;
	if (!address)
		memory[0] = (__u64)net_of(skb);
	else if (bpf_probe_read_kernel(memory, sizeof(memory), (void *)address))
		return 1;
	return !!bpf_skb_store_bytes(skb, ETH_HLEN, memory, sizeof(memory), 0);
}

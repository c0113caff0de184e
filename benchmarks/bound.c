/*
 * The least that the kernel needs for a cluster's namespaces, links, addresses and routes.
 *
 * Usage: bound NODES PODS_PER_NODE
 * Makes the cluster of clusters.py (two racks, a router, nodes, pods; without tunl0) by raw
 * rtnetlink, one send per namespace, from one thread; pings once inside a node and once between
 * two nodes; lets go of it all. Prints one line of JSON.
 *
 * Everything is in namespaces that only this process holds: nothing outlives it.
 * boot.py compiles it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/ip.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	RACKS = 2,
	BLOCK = 64,       /* addresses in a block */
	BATCH = 30000,    /* bytes in one send */
	BRIDGE = 100,     /* index of a rack's bridge */
	FIRST_PORT = 101, /* index of the first device beyond the well-known ones */
	UPLINK = 3,
	POD_ETH0 = 4,
	PROTO_BIRD = 12,
};

static int nodes, pods; /* pods: on each node */
static int home;        /* descriptor of the namespace that we came from */

/* ---------------------------------------------------------------- small things */

static void fail(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fprintf(stderr, "bound: ");
	vfprintf(stderr, format, arguments);
	fprintf(stderr, "\n");
	va_end(arguments);
	exit(1);
}

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static double cpu_ms(void)
{
	struct rusage used_by_us;

	getrusage(RUSAGE_SELF, &used_by_us);
	return (used_by_us.ru_utime.tv_sec + used_by_us.ru_stime.tv_sec) * 1e3 +
	       (used_by_us.ru_utime.tv_usec + used_by_us.ru_stime.tv_usec) / 1e3;
}

static long available_kb(void)
{
	char line[128];
	long kb = 0;
	FILE *file = fopen("/proc/meminfo", "r");

	while (file && fgets(line, sizeof line, file))
		if (sscanf(line, "MemAvailable: %ld", &kb) == 1)
			break;
	if (file)
		fclose(file);
	return kb;
}

/* ---------------------------------------------------------------- the plan */

static int blocks_per_node(void) { return pods / BLOCK + 1; }
static unsigned block(int node, int n)
{
	return (10u << 24 | 22u << 16) + (node * blocks_per_node() + n) * BLOCK;
}
/* The first address of a node's first block is its tunnel's, as Calico gives it. */
static unsigned pod_address(int node, int pod) { return block(node, 0) + 1 + pod; }
static unsigned subnet(int rack) { return 192u << 24 | 168u << 16 | 4 * rack << 8; }
static unsigned gateway(int rack) { return subnet(rack) + 1; }
static unsigned node_address(int node) { return subnet(node % RACKS) + 10 + node / RACKS; }

/* ---------------------------------------------------------------- rtnetlink */

static char batch[BATCH + 4096];
static size_t used, message;
static unsigned sequence;
static int netlink_socket = -1;

static void append(const void *data, size_t size)
{
	memcpy(batch + used, data, size);
	memset(batch + used + size, 0, NLMSG_ALIGN(size) - size);
	used += NLMSG_ALIGN(size);
}

static size_t open_attribute(int kind)
{
	struct rtattr header = { .rta_type = kind };
	size_t start = used;

	append(&header, sizeof header);
	return start;
}

static void close_attribute(size_t start)
{
	((struct rtattr *)(batch + start))->rta_len = used - start;
}

static void attribute(int kind, const void *data, size_t size)
{
	size_t start = open_attribute(kind);

	append(data, size);
	((struct rtattr *)(batch + start))->rta_len = sizeof(struct rtattr) + size;
}

static void u32(int kind, unsigned value) { attribute(kind, &value, sizeof value); }
static void text(int kind, const char *value) { attribute(kind, value, strlen(value) + 1); }
static void ipv4(int kind, unsigned value) { u32(kind, htonl(value)); }

static void begin(int type, int flags, const void *header, size_t size)
{
	struct nlmsghdr h = { .nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | flags,
			      .nlmsg_seq = ++sequence };

	message = used;
	append(&h, sizeof h);
	append(header, size);
}

/* Only the last message asks for an answer; one that fails answers unasked. */
static void flush(void)
{
	char answer[8192];

	if (!used)
		return;
	((struct nlmsghdr *)(batch + message))->nlmsg_flags |= NLM_F_ACK;
	if (send(netlink_socket, batch, used, 0) < 0)
		fail("send: %s", strerror(errno));
	used = 0;
	for (;;) {
		ssize_t left = recv(netlink_socket, answer, sizeof answer, 0);
		struct nlmsghdr *h = (struct nlmsghdr *)answer;

		if (left < 0)
			fail("recv: %s", strerror(errno));
		for (; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
			int error = ((struct nlmsgerr *)NLMSG_DATA(h))->error;

			if (h->nlmsg_type != NLMSG_ERROR)
				continue;
			if (error)
				fail("the kernel refused message %u: %s", h->nlmsg_seq,
				     strerror(-error));
			if (h->nlmsg_seq == sequence)
				return;
		}
	}
}

static void end(void)
{
	((struct nlmsghdr *)(batch + message))->nlmsg_len = used - message;
	if (used > BATCH - 1024)
		flush();
}

static void link_header(int type, int flags, int index, int up)
{
	struct ifinfomsg h = { .ifi_index = index, .ifi_flags = up, .ifi_change = up };

	begin(type, flags, &h, sizeof h);
}

static void link_up(int index)
{
	link_header(RTM_NEWLINK, 0, index, 1 /* IFF_UP */);
	end();
}

static void one_end(const char *name, int mtu)
{
	text(IFLA_IFNAME, name);
	u32(IFLA_MTU, mtu);
	u32(IFLA_NUM_TX_QUEUES, 1);
	u32(IFLA_NUM_RX_QUEUES, 1);
}

static void veth(const char *name, int index, int master, const char *peer, int peer_index,
		 int peer_namespace, int mtu)
{
	struct ifinfomsg peer_header = { .ifi_index = peer_index };
	static const unsigned char mac[6] = { 0xee, 0xee, 0xee, 0xee, 0xee, 0xee };
	size_t info, data, end_of_peer;

	link_header(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, index, 0);
	one_end(name, mtu);
	if (master)
		u32(IFLA_MASTER, master);
	else
		attribute(IFLA_ADDRESS, mac, sizeof mac);
	info = open_attribute(IFLA_LINKINFO);
	text(IFLA_INFO_KIND, "veth");
	data = open_attribute(IFLA_INFO_DATA);
	end_of_peer = open_attribute(1 /* VETH_INFO_PEER */);
	append(&peer_header, sizeof peer_header);
	one_end(peer, mtu);
	u32(IFLA_NET_NS_FD, peer_namespace);
	close_attribute(end_of_peer);
	close_attribute(data);
	close_attribute(info);
	end();
}

static void bridge(int index)
{
	size_t info;

	link_header(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, index, 1 /* IFF_UP */);
	text(IFLA_IFNAME, "br0");
	info = open_attribute(IFLA_LINKINFO);
	text(IFLA_INFO_KIND, "bridge");
	close_attribute(info);
	end();
}

/* What Calico sets on a pod's device, and up, in one message; proxy_delay has its own. */
static void workload_device(int index)
{
	struct ndtmsg table = { .ndtm_family = AF_INET };
	unsigned long long none = 0;
	size_t specifics, inet, conf;

	link_header(RTM_NEWLINK, 0, index, 1 /* IFF_UP */);
	specifics = open_attribute(IFLA_AF_SPEC);
	inet = open_attribute(AF_INET);
	conf = open_attribute(IFLA_INET_CONF);
	u32(IPV4_DEVCONF_PROXY_ARP, 1);
	u32(IPV4_DEVCONF_FORWARDING, 1);
	u32(IPV4_DEVCONF_ROUTE_LOCALNET, 1);
	close_attribute(conf);
	close_attribute(inet);
	close_attribute(specifics);
	end();

	begin(RTM_SETNEIGHTBL, NLM_F_REPLACE, &table, sizeof table);
	text(NDTA_NAME, "arp_cache");
	conf = open_attribute(NDTA_PARMS);
	u32(NDTPA_IFINDEX, index);
	attribute(NDTPA_PROXY_DELAY, &none, sizeof none);
	close_attribute(conf);
	end();
}

static void address(int index, unsigned value, int prefix)
{
	struct ifaddrmsg h = { .ifa_family = AF_INET, .ifa_prefixlen = prefix,
			       .ifa_index = index };

	begin(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &h, sizeof h);
	ipv4(IFA_LOCAL, value);
	ipv4(IFA_ADDRESS, value);
	end();
}

/* via 0: on the link itself; index 0: no device (blackhole) */
static void route(unsigned destination, int prefix, unsigned via, int index, int protocol)
{
	struct rtmsg h = { .rtm_family = AF_INET, .rtm_dst_len = prefix,
			   .rtm_table = RT_TABLE_MAIN, .rtm_protocol = protocol,
			   .rtm_scope = index && !via ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE,
			   .rtm_type = index ? RTN_UNICAST : RTN_BLACKHOLE };

	begin(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &h, sizeof h);
	if (prefix)
		ipv4(RTA_DST, destination);
	if (via)
		ipv4(RTA_GATEWAY, via);
	if (index)
		u32(RTA_OIF, index);
	end();
}

/* ---------------------------------------------------------------- namespaces */

static int new_namespace(int forwards)
{
	int descriptor, file;

	if (unshare(CLONE_NEWNET))
		fail("unshare: %s", strerror(errno));
	descriptor = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (descriptor < 0)
		fail("/proc/thread-self/ns/net: %s", strerror(errno));
	if (forwards) {
		file = open("/proc/sys/net/ipv4/ip_forward", O_WRONLY | O_CLOEXEC);
		if (file < 0 || write(file, "1", 1) != 1)
			fail("ip_forward: %s", strerror(errno));
		close(file);
	}
	return descriptor;
}

static void enter(int descriptor)
{
	if (setns(descriptor, CLONE_NEWNET))
		fail("setns: %s", strerror(errno));
}

static void start_filling(int descriptor)
{
	int one = 1;

	enter(descriptor);
	netlink_socket = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (netlink_socket < 0)
		fail("socket: %s", strerror(errno));
	setsockopt(netlink_socket, SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof one);
	link_up(1);
}

static void filled(void)
{
	flush();
	close(netlink_socket);
}

/* ---------------------------------------------------------------- the cluster */

static int rack_namespace[RACKS], router_namespace, *node_namespace, *pod_namespace;

static void fill_rack(int rack)
{
	char name[32];
	int node, index = FIRST_PORT;

	start_filling(rack_namespace[rack]);
	bridge(BRIDGE);
	for (node = rack; node < nodes; node += RACKS) {
		snprintf(name, sizeof name, "node%d", node);
		veth(name, index, BRIDGE, "eth0", UPLINK, node_namespace[node], 1500);
		link_up(index++);
	}
	snprintf(name, sizeof name, "eth%d", rack);
	veth("r1", index, BRIDGE, name, UPLINK + rack, router_namespace, 1500);
	link_up(index);
	filled();
}

static void fill_router(void)
{
	int rack;

	start_filling(router_namespace);
	for (rack = 0; rack < RACKS; rack++) {
		link_up(UPLINK + rack);
		address(UPLINK + rack, gateway(rack), 22);
	}
	filled();
}

static void fill_node(int node)
{
	int rack = node % RACKS, other, n;
	char name[32];

	start_filling(node_namespace[node]);
	link_up(UPLINK);
	address(UPLINK, node_address(node), 22);
	route(0, 0, gateway(rack), UPLINK, RTPROT_BOOT);
	for (n = 0; n < blocks_per_node(); n++)
		route(block(node, n), 26, 0, 0, PROTO_BIRD);
	for (n = 0; n < pods; n++) {
		snprintf(name, sizeof name, "cali%08x%03x", node, n);
		veth(name, FIRST_PORT + n, 0, "eth0", POD_ETH0,
		     pod_namespace[node * pods + n], 1480);
		workload_device(FIRST_PORT + n);
		route(pod_address(node, n), 32, 0, FIRST_PORT + n, RTPROT_BOOT);
	}
	for (other = 0; other < nodes; other++)
		for (n = 0; other != node && n < blocks_per_node(); n++)
			route(block(other, n), 26,
			      other % RACKS == rack ? node_address(other) : gateway(rack),
			      UPLINK, PROTO_BIRD);
	filled();
}

static void fill_pod(int node, int pod)
{
	const unsigned pods_gateway = 169u << 24 | 254u << 16 | 1 << 8 | 1;

	start_filling(pod_namespace[node * pods + pod]);
	link_up(POD_ETH0);
	address(POD_ETH0, pod_address(node, pod), 32);
	route(pods_gateway, 32, 0, POD_ETH0, RTPROT_BOOT);
	route(0, 0, pods_gateway, POD_ETH0, RTPROT_BOOT);
	filled();
}

static void boot(void)
{
	int i, n;

	for (i = 0; i < RACKS; i++)
		rack_namespace[i] = new_namespace(0);
	router_namespace = new_namespace(1);
	for (i = 0; i < nodes; i++)
		node_namespace[i] = new_namespace(1);
	for (i = 0; i < nodes * pods; i++)
		pod_namespace[i] = new_namespace(0);
	for (i = 0; i < RACKS; i++)
		fill_rack(i);
	fill_router();
	for (i = 0; i < nodes; i++)
		fill_node(i);
	for (i = 0; i < nodes; i++)
		for (n = 0; n < pods; n++)
			fill_pod(i, n);
}

static void stop(void)
{
	int i;

	enter(home);
	for (i = 0; i < RACKS; i++)
		close(rack_namespace[i]);
	close(router_namespace);
	for (i = 0; i < nodes; i++)
		close(node_namespace[i]);
	for (i = 0; i < nodes * pods; i++)
		close(pod_namespace[i]);
}

static void ping(int from, unsigned destination)
{
	struct in_addr address = { htonl(destination) };
	int status;
	pid_t child = fork();

	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		enter(from);
		if (!freopen("/dev/null", "w", stdout))
			_exit(126);
		execlp("ping", "ping", "-c1", "-W2", inet_ntoa(address), NULL);
		_exit(127);
	}
	if (child < 0 || waitpid(child, &status, 0) != child || status)
		fail("no answer to the ping of %s", inet_ntoa(address));
}

int main(int argc, char **argv)
{
	struct rlimit files;
	double start, booted, stopping, cpu;
	long before, after;

	nodes = argc == 3 ? atoi(argv[1]) : 0;
	pods = argc == 3 ? atoi(argv[2]) : 0;
	if (nodes < 1 || nodes > 1000 || pods < 1 || pods > 4000) {
		fprintf(stderr, "usage: bound NODES PODS_PER_NODE\n");
		return 2;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	node_namespace = calloc(nodes, sizeof *node_namespace);
	pod_namespace = calloc((size_t)nodes * pods, sizeof *pod_namespace);
	if (home < 0 || !node_namespace || !pod_namespace)
		fail("cannot begin: %s", strerror(errno));

	before = available_kb();
	cpu = cpu_ms();
	start = now_ms();
	boot();
	booted = now_ms();
	cpu = cpu_ms() - cpu;
	after = available_kb();
	if (pods > 1)
		ping(pod_namespace[0], pod_address(0, 1));
	if (nodes > RACKS)
		ping(pod_namespace[0], pod_address(RACKS, 0));
	stopping = now_ms();
	stop();
	printf("{\"boot_ms\": %.3f, \"boot_cpu_ms\": %.3f, \"stop_ms\": %.3f,"
	       " \"machine_kb\": %ld, \"process_kb\": 0}\n",
	       booted - start, cpu, now_ms() - stopping, before - after);
	return 0;
}

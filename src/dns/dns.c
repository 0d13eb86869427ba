#include "dns/dns.h"

#include <ares.h>
#include <ares_nameser.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct dns {
	ares_channel channel;
	char *system;    /* nameservers of the system, as text */
	bool search;     /* search domains of the system are used */
	bool configured; /* the nameservers are those of a configuration */
};

/* One question of a lookup. */
struct dns_question {
	struct dns *dns;
	struct dns_lookup *lookup;
	enum dns_type type;
	uint16_t port, weight;
};

/* ---- sockets: only system calls that the sandbox allows ---------------------- */

static ares_socket_t open_socket(int family, int type, int protocol, void *owner)
{
	(void)owner;
	return socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
}

static int close_socket(ares_socket_t fd, void *owner)
{
	(void)owner;
	return close(fd);
}

static int connect_socket(ares_socket_t fd, const struct sockaddr *sa, ares_socklen_t len,
			  void *owner)
{
	(void)owner;
	return connect(fd, sa, len);
}

static ares_ssize_t receive_from(ares_socket_t fd, void *bytes, size_t n, int flags,
				 struct sockaddr *from, ares_socklen_t *from_len,
				 void *owner)
{
	(void)owner;
	return recvfrom(fd, bytes, n, flags, from, from_len);
}

static ares_ssize_t send_vector(ares_socket_t fd, const struct iovec *iov, int n, void *owner)
{
	struct msghdr msg = { .msg_iov = (struct iovec *)(uintptr_t)iov,
			      .msg_iovlen = (size_t)n };

	(void)owner;
	return sendmsg(fd, &msg, MSG_NOSIGNAL);
}

static const struct ares_socket_functions sockets = {
	open_socket, close_socket, connect_socket, receive_from, send_vector,
};

/* ---- answers ----------------------------------------------------------------- */

static int address_compare(const struct dns_address *a, const struct dns_address *b)
{
	return memcmp(a, b, offsetof(struct dns_address, weight));
}

static void lookup_finish(struct dns_lookup *l)
{
	if (l->n == 0 && !l->failure)
		l->failure = "it has no address";
	if (l->n > 0)
		l->failure = NULL;
	l->done(l);
}

static void lookup_question_done(struct dns_lookup *l)
{
	ASSERT(l->pending > 0);
	if (--l->pending == 0)
		lookup_finish(l);
}

static bool lookup_grow(struct dns_lookup *l)
{
	unsigned capacity = l->capacity > 0 ? 4 * l->capacity : 4;
	struct dns_address *grown;

	if (l->n < l->capacity)
		return true;
	grown = realloc(l->addresses, capacity * sizeof(*grown));
	if (!grown)
		return false;
	l->addresses = grown;
	l->capacity = capacity;
	return true;
}

/* The index of the first address that is not less than a. */
static unsigned insert_index(const struct dns_lookup *l, const struct dns_address *a)
{
	unsigned low = 0, high = l->n;

	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (address_compare(&l->addresses[middle], a) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Sorted insertion, so that the addresses beyond the limit do not depend on the order of
 * the records, which changes with each answer. qsort() may open a file, so it is not
 * used. */
void dns_lookup_add(struct dns_lookup *l, struct dns_address a)
{
	unsigned at = insert_index(l, &a);

	if (at < l->n && address_compare(&l->addresses[at], &a) == 0)
		return;
	if (l->n == DNS_ADDRESSES_MAX) {
		l->truncated = true;
		l->n--;
	}
	if (at == DNS_ADDRESSES_MAX) {
		l->n++;
		return;
	}
	if (!lookup_grow(l)) {
		l->incomplete_v4 = l->incomplete_v6 = true;
		return;
	}
	memmove(&l->addresses[at + 1], &l->addresses[at], (l->n - at) * sizeof(a));
	l->addresses[at] = a;
	l->n++;
}

void dns_lookup_done(struct dns_lookup *l)
{
	free(l->addresses);
	l->addresses = NULL;
	l->n = l->capacity = 0;
}

/* c-ares reports ARES_ECONNREFUSED when the last nameserver has failed, for any reason. */
static const char *failure_text(int status)
{
	switch (status) {
	case ARES_ECONNREFUSED:
		return "no nameserver has an answer";
	case ARES_ETIMEOUT:
		return "no nameserver answers in time";
	}
	return ares_strerror(status);
}

static void question_failed(const struct dns_question *q, int status)
{
	struct dns_lookup *l = q->lookup;

	l->incomplete_v4 |= q->type != DNS_AAAA;
	l->incomplete_v6 |= q->type != DNS_A;
	l->timed_out |= status == ARES_ETIMEOUT || status == ARES_ECANCELLED;
	l->failure = failure_text(status);
}

static void question_send(const struct dns_question *template, const char *name);

/* Questions for the addresses of a name; they get the port and the weight of q. */
static void addresses_query(struct dns_question q, const char *name)
{
	q.type = DNS_A;
	if (q.lookup->family != DNS_V6)
		question_send(&q, name);
	q.type = DNS_AAAA;
	if (q.lookup->family != DNS_V4)
		question_send(&q, name);
}

static bool services_read(struct dns_question *q, struct slice answer, uint32_t *ttl_s)
{
	struct dns_service *services = calloc(DNS_SERVICES_MAX, sizeof(*services));
	int n = services ? dns_read_services(answer, services, DNS_SERVICES_MAX, ttl_s) : -1;

	for (int i = 0; i < n; i++)
		addresses_query((struct dns_question){ q->dns, q->lookup, DNS_A,
						       services[i].port,
						       services[i].weight },
				services[i].target);
	free(services);
	return n >= 0;
}

static bool addresses_read(struct dns_question *q, struct slice answer, uint32_t *ttl_s)
{
	struct dns_address *addresses = calloc(DNS_RECORDS_MAX, sizeof(*addresses));
	int n = addresses ? dns_read_addresses(answer, q->type, addresses, DNS_RECORDS_MAX, ttl_s) :
			    -1;

	for (int i = 0; i < n; i++) {
		addresses[i].port = q->port;
		addresses[i].weight = q->weight;
		dns_lookup_add(q->lookup, addresses[i]);
	}
	free(addresses);
	return n >= 0;
}

static void question_answered(void *arg, int status, int timeouts, unsigned char *bytes,
			      int n)
{
	struct dns_question *q = arg;
	struct dns_lookup *l = q->lookup;
	struct slice answer = { (const char *)bytes, n > 0 ? (size_t)n : 0 };
	uint32_t ttl_s = UINT32_MAX;

	(void)timeouts;
	if (status == ARES_SUCCESS) {
		bool good = q->type == DNS_SRV ? services_read(q, answer, &ttl_s)
					       : addresses_read(q, answer, &ttl_s);

		if (!good)
			question_failed(q, ARES_EBADRESP);
		else if (ttl_s < l->ttl_s)
			l->ttl_s = ttl_s;
	} else if (status == ARES_ENOTFOUND) {
		if (!l->failure)
			l->failure = "there is no such name";
	} else if (status != ARES_ENODATA) {
		question_failed(q, status);
	}
	free(q);
	lookup_question_done(l);
}

/* ---- questions --------------------------------------------------------------- */

static void question_send(const struct dns_question *template, const char *name)
{
	struct dns_lookup *l = template->lookup;
	struct dns *dns = template->dns;
	struct dns_question *q = malloc(sizeof(*q));
	bool search = dns->search && !(l->service && template->type != DNS_SRV);

	l->pending++;
	if (!q) {
		question_failed(template, ARES_ENOMEM);
		lookup_question_done(l);
		return;
	}
	*q = *template;
	if (search)
		ares_search(dns->channel, name, ns_c_in, (int)q->type, question_answered,
			    q);
	else
		ares_query(dns->channel, name, ns_c_in, (int)q->type, question_answered,
			   q);
}

void dns_query(struct dns *dns, struct dns_lookup *l)
{
	struct dns_question q = { dns, l, DNS_SRV, l->port, 1 };

	l->n = 0;
	l->truncated = false;
	l->ttl_s = UINT32_MAX;
	l->incomplete_v4 = l->incomplete_v6 = l->timed_out = false;
	l->failure = NULL;
	l->pending = 1; /* ours: the lookup is not done before all questions were sent */
	if (l->service)
		question_send(&q, l->name);
	else
		addresses_query(q, l->name);
	lookup_question_done(l);
}

/* ---- waiting ----------------------------------------------------------------- */

/* Appends the sockets of c-ares to the first n entries. */
static unsigned add_sockets(struct dns *dns, struct pollfd *fds, unsigned n)
{
	ares_socket_t socks[ARES_GETSOCK_MAXNUM];
	/* c-ares has macros for this, which shift into the sign. */
	unsigned bits = (unsigned)ares_getsock(dns->channel, socks, ARES_GETSOCK_MAXNUM);

	for (unsigned i = 0; i < ARES_GETSOCK_MAXNUM; i++) {
		bool in = bits >> i & 1, out = bits >> (i + ARES_GETSOCK_MAXNUM) & 1;

		if (in || out)
			fds[n++] = (struct pollfd){ socks[i], (short)((in ? POLLIN : 0) |
								      (out ? POLLOUT : 0)), 0 };
	}
	return n;
}

static int wait_ms(struct dns *dns, int timeout_ms)
{
	struct timeval max = { timeout_ms / 1000, timeout_ms % 1000 * 1000 }, left;
	const struct timeval *t = ares_timeout(dns->channel, timeout_ms < 0 ? NULL : &max, &left);

	/* Rounded up: a timeout of 0 would spin during the last millisecond. */
	return t ? (int)(t->tv_sec * 1000 + (t->tv_usec + 999) / 1000) : -1;
}

void dns_wait(struct dns *dns, int fd, int timeout_ms)
{
	struct pollfd fds[ARES_GETSOCK_MAXNUM + 1];
	unsigned n = 0, first;

	if (fd >= 0)
		fds[n++] = (struct pollfd){ fd, POLLIN, 0 };
	first = n;
	n = add_sockets(dns, fds, n);
	if (poll(fds, n, wait_ms(dns, timeout_ms)) < 0)
		n = 0;
	for (unsigned i = first; i < n; i++) {
		bool in = fds[i].revents & ~POLLOUT, out = fds[i].revents & POLLOUT;

		if (in || out)
			ares_process_fd(dns->channel, in ? fds[i].fd : ARES_SOCKET_BAD,
					out ? fds[i].fd : ARES_SOCKET_BAD);
	}
	ares_process_fd(dns->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD); /* timeouts */
}

/* ---- the channel ------------------------------------------------------------- */

int dns_set_servers(struct dns *dns, const char *servers)
{
	ares_cancel(dns->channel);
	dns->search = !servers;
	/* Text loses the interface of a link-local address, so the nameservers of the
	 * system are set as text only if they were replaced before. */
	if (!servers && (!dns->system || !dns->configured))
		return 0;
	dns->configured = servers != NULL;
	return ares_set_servers_ports_csv(dns->channel, servers ? servers : dns->system) ==
			       ARES_SUCCESS ?
		       0 :
		       -ENOMEM;
}

/* The nameservers of the channel, as "10.0.0.1:53,[::1]:53"; NULL: no memory. */
static char *servers_text(ares_channel channel)
{
	struct ares_addr_port_node *list = NULL;
	char *text = NULL;
	size_t n;
	FILE *out = ares_get_servers_ports(channel, &list) == ARES_SUCCESS ?
			    open_memstream(&text, &n) :
			    NULL;

	for (struct ares_addr_port_node *s = list; out && s; s = s->next) {
		char host[INET6_ADDRSTRLEN];

		ares_inet_ntop(s->family, &s->addr, host, sizeof(host));
		fprintf(out, s->family == AF_INET6 ? "[%s]:%d%s" : "%s:%d%s", host,
			s->udp_port ? s->udp_port : NAMESERVER_PORT, s->next ? "," : "");
	}
	if (out)
		fclose(out);
	ares_free_data(list);
	return text;
}

int dns_new(struct dns **where)
{
	struct ares_options options = {
		.flags = ARES_FLAG_NOALIASES | ARES_FLAG_EDNS,
		.timeout = DNS_TIMEOUT_MS,
		.tries = DNS_TRIES,
		.ednspsz = 1232,
		.lookups = (char[]){ "b" },
	};
	int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_EDNSPSZ |
		   ARES_OPT_LOOKUPS;
	struct dns *dns = calloc(1, sizeof(*dns));

	if (!dns || ares_init_options(&dns->channel, &options, mask) != ARES_SUCCESS) {
		free(dns);
		return -ENOMEM;
	}
	ares_set_socket_functions(dns->channel, &sockets, NULL);
	dns->search = true;
	dns->system = servers_text(dns->channel);
	*where = dns;
	return 0;
}

void dns_cancel(struct dns *dns)
{
	ares_cancel(dns->channel);
}

void dns_free(struct dns *dns)
{
	ares_destroy(dns->channel);
	free(dns->system);
	free(dns);
}

bool dns_in_hosts(struct dns *dns, const char *name)
{
	static const int families[] = { AF_INET, AF_INET6 };

	for (unsigned i = 0; i < COUNT(families); i++) {
		struct hostent *found;

		if (ares_gethostbyname_file(dns->channel, name, families[i], &found) !=
		    ARES_SUCCESS)
			continue;
		ares_free_hostent(found);
		return true;
	}
	return false;
}

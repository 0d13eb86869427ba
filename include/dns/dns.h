/* Asks nameservers what a name stands for (c-ares): addresses (A, AAAA), or the servers of a
 * service (SRV) and the addresses of those.
 *
 * A lookup is several questions and one result. It is embedded in what asks, and is the
 * dns's from dns_query() to done(). A nameserver that does not answer is asked again, and the
 * others after it: DNS_TRIES times each, from DNS_TIMEOUT_MS on, each round twice as long.
 *
 * Nothing waits but dns_wait(), which does nothing else: for a thread of its own, or for who
 * has nothing else to do. What the system says of its nameservers and domains is read once,
 * by dns_new(); afterwards no file is opened.
 *
 * Owner: one thread. */
#ifndef DNS_DNS_H
#define DNS_DNS_H

#include "dns/answer.h"

#define DNS_TIMEOUT_MS 1000
#define DNS_TRIES 3
#define DNS_ADDRESSES_MAX 1024 /* of one lookup: the first in order, whoever came first */
#define DNS_SERVICES_MAX 64  /* likewise, servers of a service */

enum dns_family { DNS_ANY, DNS_V4, DNS_V6 };

struct dns;

struct dns_lookup {
	/* The asker's. */
	char name[DNS_NAME_MAX + 1];
	bool service;           /* asks for SRV; the port is then each server's own */
	uint16_t port;          /* of the addresses */
	enum dns_family family; /* which are wanted */
	void (*done)(struct dns_lookup *l);
	/* The result: sorted, each once. n == 0: `failure` says why. Of malloc(), for
	 * dns_lookup_done(). */
	unsigned n, capacity;
	struct dns_address *addresses;
	bool truncated; /* there are more than DNS_ADDRESSES_MAX */
	uint32_t ttl_s;
	bool incomplete_v4,
		incomplete_v6; /* a dns_question was not answered: there may be more of these */
	bool timed_out;        /* a dns_question was not answered in time */
	const char *failure;
	unsigned pending;          /* the dns's */
};

/* Adds an address to a result, where it belongs. Without memory for it: unsure. */
void dns_lookup_add(struct dns_lookup *l, struct dns_address a);

/* Frees what has been found. */
void dns_lookup_done(struct dns_lookup *l);

/* Returns 0 or -ENOMEM. */
int dns_new(struct dns **dns);

/* "127.0.0.1:53,[::1]:53": these from now on, and names are whole as they are; NULL: those of
 * the system, with its search domains. Lookups under way fail. Returns 0 or -ENOMEM. */
int dns_set_servers(struct dns *dns, const char *servers);

/* done() may be called before it returns. */
void dns_query(struct dns *dns, struct dns_lookup *l);

/* Waits until something came from a nameserver, or time for it is up, or `fd` (-1: none) can
 * be read, at most `timeout_ms` (-1: no limit), and calls done() of what is done. */
void dns_wait(struct dns *dns, int fd, int timeout_ms);

/* Lookups under way fail, as if no nameserver answered in time. */
void dns_cancel(struct dns *dns);

/* Lookups under way fail. */
void dns_free(struct dns *dns);

/* Whether the system's own list has the name: then no nameserver is asked. Opens a file. */
bool dns_in_hosts(struct dns *dns, const char *name);

#endif

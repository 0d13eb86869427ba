/* DNS client (c-ares): the addresses of a name (A, AAAA), or the servers of a service
 * (SRV) and their addresses.
 *
 * A lookup is several questions and one result. It is embedded in its requester and
 * belongs to the dns from dns_query() until done(). A question goes to one nameserver
 * after the other, in DNS_TRIES rounds: in the first round each has DNS_TIMEOUT_MS to
 * answer, in each further round twice as long.
 *
 * Lookups progress only in dns_wait(), which blocks: it is for a thread of its own, or
 * for a program that has nothing else to do. The nameservers and search domains of the
 * system are read once, by dns_new(); afterwards no file is opened, except by
 * dns_in_hosts().
 *
 * Owner: one thread. */
#ifndef DNS_DNS_H
#define DNS_DNS_H

#include "dns/answer.h"

#define DNS_TIMEOUT_MS 1000
#define DNS_TRIES 3
#define DNS_ADDRESSES_MAX 1024 /* of one lookup: the first ones in sorted order */
#define DNS_SERVICES_MAX 64    /* SRV records of one lookup */

enum dns_family { DNS_ANY, DNS_V4, DNS_V6 };

struct dns;

struct dns_lookup {
	/* Set by the requester. */
	char name[DNS_NAME_MAX + 1];
	bool service; /* a question for SRV; each server then has its own port */
	uint16_t port;          /* of the addresses */
	enum dns_family family; /* of the addresses */
	void (*done)(struct dns_lookup *l);
	/* The result: sorted, without duplicates. n == 0: `failure` says why. Allocated;
	 * freed by dns_lookup_done(). */
	unsigned n, capacity;
	struct dns_address *addresses;
	bool truncated; /* there are more than DNS_ADDRESSES_MAX */
	uint32_t ttl_s;
	/* A question failed: the name may have more addresses of this family. */
	bool incomplete_v4, incomplete_v6;
	bool timed_out; /* a question was not answered in time */
	const char *failure;
	unsigned pending; /* private: questions without an answer */
};

/* Adds an address to a result, in sorted order. If memory is short the result is
 * incomplete. */
void dns_lookup_add(struct dns_lookup *l, struct dns_address a);

/* Frees the addresses. */
void dns_lookup_done(struct dns_lookup *l);

/* Reads the nameservers and search domains of the system. Returns 0 or -ENOMEM. */
int dns_new(struct dns **dns);

/* Sets the nameservers, as "127.0.0.1:53,[::1]:53"; search domains are then not used.
 * NULL: those of the system, with its search domains. Lookups in flight fail. Returns 0
 * or -ENOMEM. */
int dns_set_servers(struct dns *dns, const char *servers);

/* Starts a lookup. done() may be called before it returns. */
void dns_query(struct dns *dns, struct dns_lookup *l);

/* Waits until an answer is received, a question times out, or `fd` (-1: none) is
 * readable, at most `timeout_ms` (-1: no limit). Calls done() of completed lookups. */
void dns_wait(struct dns *dns, int fd, int timeout_ms);

/* Lookups in flight fail, as if no nameserver had answered in time. */
void dns_cancel(struct dns *dns);

/* Frees it. Lookups in flight fail. */
void dns_free(struct dns *dns);

/* Whether /etc/hosts has the name: the caller then asks no nameserver. Opens that file. */
bool dns_in_hosts(struct dns *dns, const char *name);

#endif

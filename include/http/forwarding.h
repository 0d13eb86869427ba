/* Who asks, for what, and how: as far as the way of a request to us is known.
 *
 * A peer says so by the fields of forwarding.def. A trusted one is believed, anybody else is
 * not: his are not forwarded, and X-Forwarded-For, -Proto, -Host and -Port are written anew
 * from what we see. So is what a trusted peer does not say.
 *
 *   the client  X-Forwarded-For, all lines together, is walked from its end, past addresses
 *               that are trusted themselves, to the first that is not: that is the client.
 *               The walk ends at a member that is no address, and after
 *               FORWARDING_HOPS_MAX; then what was read last counts
 *   Forwarded   (RFC 7239) is walked likewise, where there is no X-Forwarded-For. Where
 *               both name different clients one of the two was let through from a
 *               stranger: X-Forwarded-For counts, as more proxies write it, and Forwarded
 *               is not continued; nor is one that is malformed
 *   the rest    of X-Forwarded-Proto, -Host and -Port counts the member written by who
 *               named the client: as far from the end as the client is, or the first;
 *               else what Forwarded says at the client. One that makes no sense is none
 *
 * What stands before the client is a stranger's word, and is not forwarded either. Names with
 * anything but "-" between their words never are: proxies let them pass unseen.
 *
 * Owner: the step at hand, no longer alive than the head. Pure. */
#ifndef HTTP_FORWARDING_H
#define HTTP_FORWARDING_H

#include "base/ip.h"
#include "http/emit.h"
#include "http/head.h"

#define FORWARDING_HOPS_MAX 32

/* Who is connected to us. */
struct forwarding_peer {
	struct slice text; /* its address, or "unix" */
	bool trusted;
	const struct ip_range *proxies; /* whom to believe, sorted */
	unsigned proxy_n;
};

/* Where members that are continued begin. */
struct forwarding_chain {
	unsigned hops;      /* from the client on; 0: nothing is continued */
	unsigned field;     /* in head.fields: the one with the client */
	struct slice first; /* its value from there on */
	struct ip client;
};

struct forwarding {
	const struct forwarding_peer *peer;
	struct slice client; /* the address believed, or "unix" */
	struct slice proto, host,
		port; /* as the client asked; host and port may be empty */
	struct forwarding_chain list;     /* of X-Forwarded-For */
	struct forwarding_chain elements; /* of Forwarded */
	char text[IP_TEXT_MAX];
};

/* Is this one of forwarding.def? */
bool forwarding_names(struct slice name);

/* Most fields of a request are not, by first letter and length. */
static inline bool forwarding_may_name(struct slice name)
{
	switch (name.ptr[0] | 0x20) {
	case 'c':
		return name.len == 9 || name.len == 16;
	case 'f':
		return name.len >= 9;
	case 't':
		return name.len == 14;
	case 'x':
		return name.len >= 8;
	}
	return false;
}

void forwarding_read(struct forwarding *f, const struct head *h,
		     const struct forwarding_peer *peer);

/* One of them: may it be forwarded as it is? */
bool forwarding_passes(const struct forwarding *f, const struct field *field);

/* May this field be forwarded as it is? */
static inline bool forwarding_keeps(const struct forwarding *f, const struct field *field)
{
	return !forwarding_may_name(field->name) || !forwarding_names(field->name) ||
	       forwarding_passes(f, field);
}

/* Writes X-Forwarded-For, -Proto, -Host and -Port; and Forwarded, where `rfc7239` says so or
 * a trusted peer's is continued. */
void forwarding_emit(struct emit *e, const struct head *h, const struct forwarding *f,
		     bool rfc7239);

/* Most bytes that this writes. */
size_t forwarding_max(const struct head *h, const struct forwarding *f);

#endif

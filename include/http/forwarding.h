/* The client of a request, and the scheme, host and port it used, as stated by other
 * proxies.
 *
 * A peer states that in the fields of forwarding.def. A trusted peer is believed. The
 * fields of any other peer are not forwarded; X-Forwarded-For, -Proto, -Host and -Port
 * are then written from what we see, as is whatever a trusted peer does not state.
 *
 *   X-Forwarded-For  All its lines are one list. It is walked from its end past addresses that
 *                    are trusted themselves, to the first that is not: the client. The walk ends
 *                    at a member that is not an address and after FORWARDING_HOPS_MAX members;
 *                    then the last address read is the client.
 *   Forwarded        (RFC 7239) is walked in the same way if there is no X-Forwarded-For. If
 *                    both name different clients, a proxy has let one of them through from an
 *                    untrusted peer: X-Forwarded-For is used, as more proxies write it, and
 *                    Forwarded is not continued. Nor is a malformed Forwarded.
 *   X-Forwarded-Proto, -Host, -Port
 *                    Used is the member written by the proxy that named the client: as far from
 *                    the end as the client is in its list, or else the first; without one, the
 *                    value in the client's element of Forwarded. Malformed members are ignored.
 *
 *   Client-Cert, Client-Cert-Chain (RFC 9440)
 *                    Written if the peer's certificate is to be forwarded; then those of a trusted
 *                    peer, which are about somebody else, are not.
 *
 *   X-Real-IP and other fields whose value is the client's address
 *                    If X-Forwarded-For or Forwarded names a client, they are forwarded only if
 *                    they name the same one.
 *
 * Members before the client come from an untrusted peer and are not forwarded either. Nor
 * are fields whose names have anything but "-" between their words: other proxies do not
 * filter them.
 *
 * Owner: the current step; valid as long as the head. Errors: none. Source: RFC 7239.
 * Pure. */
#ifndef HTTP_FORWARDING_H
#define HTTP_FORWARDING_H

#include "base/ip.h"
#include "http/head.h"
#include "http/sink.h"

#define FORWARDING_HOPS_MAX 32

/* The peer of the client connection, or whom it has stated in a header of the PROXY protocol. */
struct forwarding_peer {
	struct slice text; /* its address, or "unix" */
	bool trusted;
	bool https; /* its connection uses TLS, or so a trusted PROXY header says */
	/* The certificate that it presented, to be forwarded: the values of Client-Cert and
	 * Client-Cert-Chain (RFC 9440); empty: no such field. */
	struct slice certificate, chain;
	const struct ip_range *proxies; /* trusted addresses, sorted */
	unsigned proxy_n;
};

/* The part of a list that is forwarded: from the client to the end. */
struct forwarding_chain {
	unsigned hops;      /* members from the client on; 0: nothing is forwarded */
	unsigned field;     /* index in head.fields of the field with the client */
	struct slice first; /* its value, from the client on */
	struct ip client;
};

struct forwarding {
	const struct forwarding_peer *peer;
	struct slice client; /* its address, or "unix" */
	struct slice proto, host,
		port; /* of the request as the client sent it; host and port may be empty */
	struct forwarding_chain list;     /* of X-Forwarded-For */
	struct forwarding_chain elements; /* of Forwarded */
	char text[IP_TEXT_MAX]; /* memory of `client` */
};

/* The name is in forwarding.def. */
bool forwarding_is_field(struct slice name);

/* A quick check by first letter and length: false for most fields of a request. */
static inline bool forwarding_may_be_field(struct slice name)
{
	switch (name.ptr[0] | 0x20) {
	case 'c':
		return name.len == 9 || name.len == 11 || name.len == 16 || name.len == 17;
	case 'f':
		return name.len >= 9;
	case 't':
		return name.len == 14;
	case 'x':
		return name.len >= 8;
	}
	return false;
}

/* Reads the forwarding fields of a head. `peer` is kept: it must live as long as f. */
void forwarding_read(struct forwarding *f, const struct head *h,
		     const struct forwarding_peer *peer);

/* For a field of forwarding.def: it may be forwarded as received. */
bool forwarding_passes(const struct forwarding *f, const struct field *field);

/* For any field: it may be forwarded as received. */
static inline bool forwarding_keeps(const struct forwarding *f, const struct field *field)
{
	return !forwarding_may_be_field(field->name) || !forwarding_is_field(field->name) ||
	       forwarding_passes(f, field);
}

/* Writes X-Forwarded-For, -Proto, -Host and -Port; Client-Cert and -Chain; and Forwarded, if
 * `rfc7239` is set or that of a trusted peer is continued. */
void forwarding_emit(struct sink *s, const struct head *h, const struct forwarding *f,
		     bool rfc7239);

/* Most bytes that forwarding_emit() writes, beyond those it copies from the head. */
size_t forwarding_max(const struct head *h, const struct forwarding *f);

#endif

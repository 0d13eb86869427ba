/* A response of our own, as a source (source.h): the relay reads it as it reads a fetch or a value.
 *
 * All of it is in memory, so nothing is waited for: relay_whole() sends it in one call. The reply
 * and what its fields refer to need not outlive that call; only the body does, as a piece.
 *
 * The response for lack of memory (ENDING_NO_MEMORY) is not a source: the head of a source is
 * written to a block, and no block can be had. It is a constant, which needs one entry of the
 * outbox and no other memory: relay_out_of_memory().
 *
 * Owner: the function that replies, usually on its stack. Errors: none of its own; the relay fails
 * if there is no memory for the head. Source: RFC 9110 15, RFC 9209 (Proxy-Status). */
#ifndef PROXY_REPLY_H
#define PROXY_REPLY_H

#include "proxy/proxy.h"
#include "proxy/source.h"

struct reply {
	struct source source;
	struct proxy *proxy;
	int status;
	enum ending ending;        /* for Proxy-Status */
	struct slice content_type; /* empty: text/plain, if there is a body */
	struct slice location, allow, retry_after, challenge; /* empty: no such field */
	bool changes_begun; /* proxy->changes has changes of the head already */
	bool body_given;   /* the body is as it is, and may be empty */
	struct piece body; /* what of it was not read; empty and not given: reply_source() sets
			      the text "STATUS PHRASE\n" in static memory, except for a 204 */
};

/* Makes a source of a reply whose other fields are set; takes over the body's reference. */
struct source *reply_source(struct reply *r);

/* The response for lack of memory: its head, then its body. Says `Connection: close`. */
extern const struct slice reply_out_of_memory;
#define REPLY_OUT_OF_MEMORY_BODY_BYTES 24

#endif

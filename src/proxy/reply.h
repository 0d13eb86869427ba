/* Answers of our own: one block with head and body, one place that writes them. */
#ifndef PROXY_REPLY_H
#define PROXY_REPLY_H

#include "proxy/proxy.h"

struct reply {
	int status;
	enum ending ending;
	struct slice content_type; /* empty: text/plain */
	struct slice body;         /* empty: "STATUS PHRASE\n"; none with 204 */
	struct slice location, allow, retry_after;
	bool head_only;            /* the answer to a HEAD */
	bool http_1_0;              /* the request was HTTP/1.0 */
	bool close;
	uint64_t sent_bytes;       /* of the body, set by reply_send() */
};

/* Queues the answer. False: out of memory, and not even room to say so. That of
 * ENDING_NO_MEMORY always ends the connection. */
bool reply_send(struct proxy *p, struct client *c, struct reply *r);

#endif

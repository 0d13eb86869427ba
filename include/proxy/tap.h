/* A second reader of a request's body, beside the server that it is relayed to.
 *
 *   piece() … ─▶ end()    all of the body was read
 *            └─▶ drop()   it was not, and will not be
 *
 * A tap is asked nothing: it cannot slow the relay, nor fail it.
 *
 * Owner: whoever has set it in the relay, which calls end() or drop() once and forgets it then; or
 * forgets it when piece() has said so. */
#ifndef PROXY_TAP_H
#define PROXY_TAP_H

#include "io/buf.h"

struct body_tap {
	/* The piece is about to be sent on, and stays the relay's. False: the tap wants no more. */
	bool (*piece)(struct body_tap *t, const struct piece *p);
	void (*end)(struct body_tap *t);
	void (*drop)(struct body_tap *t);
};

#endif

/* The action `block`: fetches a URL with blocking calls, on the worker's thread. Shows what a
 * blocking call does to an event loop. */
#include "study/study.h"

#include <stdio.h>
#include <stdlib.h>

#define BLOCK_RESPONSE_MAX 65536
#define BLOCK_TIMEOUT_MS 60000

/* Finds the body of a response that ended with its connection. False: it is malformed, or
 * chunked. */
static bool response_body(struct exchange *x, const char *bytes, size_t n,
			  struct slice *body)
{
	struct head *h = &x->proxy->response;
	uint32_t scanned = 0;

	if (head_parse_response(h, bytes, n, &x->generation->head_limits, &scanned) != VERDICT_OK)
		return false;
	*body = (struct slice){ bytes + h->bytes, n - h->bytes };
	if (h->framing == FRAMING_LENGTH && h->length < body->len)
		body->len = h->length;
	return h->framing != FRAMING_CHUNKED;
}

static void block_start(struct exchange *x, const struct request_view *view)
{
	const struct config_block *b = &view->route->block;
	char request[1024];
	char *response = malloc(BLOCK_RESPONSE_MAX);
	struct slice body = { NULL, 0 };
	int n = snprintf(request, sizeof(request),
			 "GET %.*s HTTP/1.1\r\nHost: %.*s\r\nConnection: close\r\n\r\n",
			 SLICE_ARG(b->path), SLICE_ARG(b->host));
	long got = -1;

	/* The whole worker blocks here: it serves no other client until the server has
	 * responded. */
	if (response && n < (int)sizeof(request))
		got = sock_query((const struct sockaddr *)&b->address->sa,
				 b->address->len, (struct slice){ request, (size_t)n },
				 response, BLOCK_RESPONSE_MAX, BLOCK_TIMEOUT_MS);
	if (got > 0 && response_body(x, response, (size_t)got, &body))
		exchange_reply(x, 200, ENDING_COMPLETE, SLICE("text/plain"), body);
	else
		exchange_fail(x, ENDING_ORIGIN_REFUSED);
	free(response);
}

const struct action action_block = { .name = "block", .start = block_start };

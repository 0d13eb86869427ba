/* The HTTP origin of the lab: responses with delays, exact sizes and faults, chosen by
 * the path.
 *
 *   /                  waits the delay, then 200 "ok"
 *   /delay/MS          waits MS milliseconds, then 200 "ok"
 *   /bytes/N           N bytes with Content-Length; /chunked/N the same in chunks
 *   /status/N          that status code
 *   /echo              the request's body; /headers the request's head, as text
 *   /drip/N/MS         N bytes, one every MS milliseconds
 *   /upgrade           101 to the protocol of Upgrade, then an echo of all bytes
 *   /early             103, then 200
 *   /fault/reset-head  reset in the middle of the head; /fault/reset-body of the body
 *   /fault/short-body  a body shorter than Content-Length, then FIN
 *   /fault/never       no response */
#ifndef LAB_ORIGIN_H
#define LAB_ORIGIN_H

#include "front/client.h"
#include "front/listener.h"

struct origin_lab {
	struct tick *tick;
	uint32_t delay_ms;
	struct front front;
	struct listener listener;
	struct quota *clients;
	struct worker_stats stats;
	struct slab requests;
	struct head request;
};

/* tick, delay_ms and clients are set. Takes over the listening socket. */
void origin_lab_start(struct origin_lab *l, int fd);

void origin_lab_trim(struct origin_lab *l);

#endif

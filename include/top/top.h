/* `fairlead top`: what a running fairlead does, in a terminal, each second. It reads /metrics,
 * /api/status and /api/connections at the admin address and computes everything itself.
 *
 * The terminal is that of libncursesw, which is opened when it is needed: no other command loads
 * it.
 *
 * Owner: the process, which does nothing else. Limits: TOP_BYTES_MAX of an answer. Errors: without
 * an answer at the start, or without a terminal, the reason on standard error; later the page says
 * that there is none, and it asks on. */
#ifndef TOP_TOP_H
#define TOP_TOP_H

#include <stdbool.h>
#include <sys/socket.h>

/* The address if none is given. */
#define TOP_ADDRESS "127.0.0.1:9180"

#define TOP_BYTES_MAX (256u << 20)

struct top_target {
	struct sockaddr_storage sa;
	socklen_t len;
	char name[128]; /* as on the page */
};

/* Reads HOST:PORT, :PORT or unix:/PATH. False: it is none, or the host is not known. */
bool top_target_read(struct top_target *t, const char *text);

/* once: prints one page, of the second between two readings, as plain text. Returns the exit
 * status. */
int top_run(const struct top_target *t, bool once);

#endif

/* Addresses and listeners. Used at start; nothing here runs on a worker in
 * steady state. */
#ifndef IO_SOCK_H
#define IO_SOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "base/slice.h"

/* Longest text of an address: "[v6%scope]:port" or "unix:" and a path. */
#define SOCK_TEXT_MAX 128

/* A socket address, small enough to be kept by each connection. */
struct peer {
	unsigned char addr[16]; /* v4 in the first 4 */
	unsigned short port;    /* host order */
	unsigned char family;   /* AF_INET, AF_INET6, AF_UNIX */
};

void peer_from(struct peer *p, const struct sockaddr_storage *ss);

/* Writes the address without the port ("unix" for AF_UNIX), NUL-terminated;
 * returns its length. size >= SOCK_TEXT_MAX. */
size_t peer_text(const struct peer *p, char *text, size_t size);

/* Writes "host:port", "[v6]:port" or "unix:PATH"; returns its length. */
size_t sock_text(const struct sockaddr *sa, char *text, size_t size);

/* The same address, port and scope, or the same path. */
bool sock_equal(const struct sockaddr *a, const struct sockaddr *b);

/* The error of a connect says something about us, not about the peer. */
bool sock_shortage(int error);

/* A bound, listening, non-blocking, close-on-exec socket with TCP_NODELAY (which
 * accepted sockets inherit: kernel-notes/10-nodelay-is-inherited), or a negative
 * errno. reuse_port: one of several on the same address. A stale unix path is
 * removed first, if nobody listens. */
int sock_listen(const struct sockaddr *sa, socklen_t len, int backlog, bool reuse_port);

/* Removes the path of a unix listener. */
void sock_unlink(const struct sockaddr *sa);

/* Connects, sends all of the request and reads until the peer closes or `size` bytes are
 * there, with blocking calls and a timeout for each. Returns the bytes read or a negative
 * errno. For the study route that shows why nobody should; nothing else may call it. */
long sock_query(const struct sockaddr *sa, socklen_t len, struct slice request,
		char *answer, size_t size, unsigned timeout_ms);

/* Raises the soft limit of descriptors as far as allowed (first to `want` if the
 * hard limit can be raised); returns the limit in force. */
size_t sock_raise_limit(size_t want);

#endif

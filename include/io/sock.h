/* Socket addresses as text, and listening sockets.
 *
 * Workers call peer_from() for each accepted connection, peer_text() for each request and
 * sock_shortage() for each failed connect; sock_query() is for one study route. The rest
 * is used at start and by reloads. No state; any thread. */
#ifndef IO_SOCK_H
#define IO_SOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/slice.h"

/* Longest text of an address: "[v6%scope]:port" or "unix:" and a path. */
#define SOCK_TEXT_MAX 128

/* A peer's address in compact form, for each connection. */
struct peer {
	unsigned char addr[16]; /* IPv4: the first 4 bytes */
	unsigned short port;    /* host order */
	unsigned char family;   /* AF_INET, AF_INET6, AF_UNIX */
};

/* Converts an address; IPv4-mapped IPv6 becomes IPv4, an unknown family AF_UNIX. */
void peer_from(struct peer *p, const struct sockaddr_storage *ss);

/* Writes the address without the port ("unix" for AF_UNIX), NUL-terminated;
 * returns its length. size >= SOCK_TEXT_MAX. */
size_t peer_text(const struct peer *p, char *text, size_t size);

/* Writes "host:port", "[v6]:port" or "unix:PATH", NUL-terminated, cut if longer than
 * size; returns its length. */
size_t sock_text(const struct sockaddr *sa, char *text, size_t size);

/* A number that the kernel gives this socket and no other one until the next boot (SO_COOKIE); 0:
 * it does not know it. */
uint64_t sock_cookie(int fd);

/* Same family and same address, port and scope, or same path. */
bool sock_equal(const struct sockaddr *a, const struct sockaddr *b);

/* True: a connect with this error failed for lack of local resources (descriptors,
 * memory, ports), which says nothing about the peer. */
bool sock_shortage(int error);

/* Returns a listening, non-blocking, close-on-exec socket bound to sa, or a negative
 * errno. It has TCP_NODELAY, which accepted sockets inherit
 * (kernel-notes/10-nodelay-is-inherited). reuse_port: several sockets share the address
 * (SO_REUSEPORT). A unix socket's path that a dead process left behind is removed
 * first. */
int sock_listen(const struct sockaddr *sa, socklen_t len, int backlog, bool reuse_port);

/* Of the sockets that share an address (SO_REUSEPORT), connections whose packets arrive on
 * `cpu` go to this one (kernel-notes/33-incoming-cpu-steers). -1: by the hash, as without it.
 * Without effect where the kernel or the family cannot. */
void sock_steer(int fd, int cpu);

/* Removes the path of a unix listener; does nothing for other families. */
void sock_unlink(const struct sockaddr *sa);

/* Connects, sends the request and reads until the peer closes or `size` bytes have come,
 * with blocking calls and a timeout for each. Returns the bytes read or a negative errno.
 * Only for the study route `block`, which shows what blocking calls do to an event
 * loop. */
long sock_query(const struct sockaddr *sa, socklen_t len, struct slice request,
		char *response, size_t size, unsigned timeout_ms);

/* Raises the soft limit of descriptors to the hard limit, or to `want` if the hard limit
 * is lower and can be raised. Returns the limit in force; 0: unknown. */
size_t sock_raise_limit(size_t want);

#endif

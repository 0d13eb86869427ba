/* The simulated engine's own door: a network inside one loop, in virtual time.
 * All sockets of a simulated loop talk to each other only. The seed draws the
 * order of completions, how long everything takes, and where a stream of bytes is
 * cut; one seed is one history. */
#ifndef IO_SIM_H
#define IO_SIM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct io_loop;

/* A listener in the simulated network; a socket number for io_accept(). The port
 * is not 0. -EADDRINUSE, -EINVAL. */
int sim_listen(struct io_loop *loop, const struct sockaddr *addr, socklen_t len,
	       int backlog);

/* Most bytes that one direction of a connection holds: smaller makes sends
 * wait. Default 64 KiB. */
void sim_set_socket_bytes(struct io_loop *loop, uint32_t bytes);

/* This end is another machine's: what it receives does not come out of the pool. */
void sim_set_remote(struct io_loop *loop, int fd);

/* What goes wrong by chance: one in so many; 0, as it begins: never. */
struct sim_faults {
	uint32_t accepts;  /* fail for lack of descriptors; who waited goes on waiting */
	uint32_t connects; /* likewise, from whichever side */
	int connect_error; /* of those that fail, instead of -EMFILE; 0: that */
	uint32_t segments; /* are late by up to `late_ms` */
	uint32_t late_ms;
};
void sim_set_faults(struct io_loop *loop, const struct sim_faults *faults);

/* Sockets and listeners that are open. */
unsigned sim_open_sockets(const struct io_loop *loop);

/* What io_write() has written to this number, whatever it is; it stays the
 * engine's, until the next io_wait(). */
const char *sim_written(const struct io_loop *loop, int fd, size_t *len);

#endif

/* The simulated engine's own door: a network inside one loop, in virtual time.
 * All sockets of a simulated loop talk to each other only. */
#ifndef IO_SIM_H
#define IO_SIM_H

#include <stdint.h>
#include <sys/socket.h>

struct io_loop;

/* A listener in the simulated network; a socket number for io_accept(). */
int sim_listen(struct io_loop *loop, const struct sockaddr *addr, socklen_t len,
	       int backlog);

/* Most bytes that one direction of a connection holds: smaller makes sends
 * wait. Default 64 KiB. */
void sim_socket_bytes(struct io_loop *loop, uint32_t bytes);

#endif

/* Control of the simulated engine, for tests: a network inside one loop, in virtual time.
 *
 * The sockets of a simulated loop can connect only to each other. A pseudo-random
 * generator decides the order of completions, all delays, and the sizes of the pieces in
 * which bytes arrive; the same seed (io_options.seed) gives exactly the same run. Only
 * for loops of IO_ENGINE_SIM; all functions are called from the loop's thread. */
#ifndef IO_SIM_H
#define IO_SIM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct io_loop;

/* Opens a listener in the simulated network. Returns a socket number for io_accept(),
 * -EADDRINUSE, or -EINVAL if the address is bad or its port is 0. */
int sim_listen(struct io_loop *loop, const struct sockaddr *addr, socklen_t len,
	       int backlog);

/* Returns another socket number of this listener, as a second process has one. Accepts of
 * both wait for the same connections, and each connection wakes one accept. */
int sim_dup_listener(struct io_loop *loop, int listener);

/* Sets the most bytes that one direction of a connection holds, by default 64 KiB.
 * Smaller values make sends wait. */
void sim_set_socket_bytes(struct io_loop *loop, uint32_t bytes);

/* Marks a socket as one of another machine: its receives do not use the buffer pool. */
void sim_set_remote(struct io_loop *loop, int fd);

/* Faults by chance. n: one in n events is affected; 0, the default: none. */
struct sim_faults {
	uint32_t accepts;  /* fail with -EMFILE; the connection stays in the backlog */
	uint32_t connects; /* fail with connect_error, whichever side connects */
	int connect_error; /* 0: -EMFILE */
	uint32_t segments; /* arrive up to late_ms later */
	uint32_t late_ms;
};

void sim_set_faults(struct io_loop *loop, const struct sim_faults *faults);

/* Number of open sockets and listeners. */
unsigned sim_open_sockets(const struct io_loop *loop);

/* All bytes that io_write() has written to this file number (any number is accepted).
 * NULL: nothing. The memory belongs to the engine and is valid until the next
 * io_wait(). */
const char *sim_written(const struct io_loop *loop, int fd, size_t *len);

#endif

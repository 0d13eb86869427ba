/* Test fixture: a tick on the simulated engine, with scripted peers in the same loop. Time is
 * virtual, and a seed draws how bytes are split, delayed and ordered.
 *
 * Owner: one test. A struct sim_peer is one end of a connection, a struct sim_server accepts
 * them. Peers use bare io operations instead of struct conn, so that the code under test is
 * not tested with itself, and take nothing from slabs, so that slab_fail_at() counts the
 * allocations of the code under test only. The seed cuts a peer's output into pieces. Errors
 * are failed assertions. */
#ifndef LIB_SIMRIG_H
#define LIB_SIMRIG_H

#include <netinet/in.h>

#include "io/sim.h"
#include "net/tick.h"

#ifdef __SANITIZE_ADDRESS__
#define SIMRIG_SEEDS 50u /* each takes several times as long */
#else
#define SIMRIG_SEEDS 200u
#endif

struct simrig {
	struct tick tick;
	uint64_t random;
	struct list peers, servers;
	struct timer alarm; /* of SIMRIG_REACHED() */
	unsigned pairs;
	bool key_updates; /* secured peers update their keys, by chance */
};

/* Of the TLS of a peer: see lib/simtls.h. */
struct simtls_faults {
	bool corrupts, alerts;
	size_t corrupt_at; /* offset in `plain` */
	char *behind;      /* bytes to be sent behind close_notify */
	size_t behind_n;
	uint64_t key_update_ms; /* of the last one; 0: none */
};

struct sim_peer {
	struct simrig *rig;
	struct sim_server *server; /* that accepted it; NULL: the peer connected */
	struct list node;
	int fd; /* -1: not connected yet, or closed */
	int connect_error, error, send_error;
	bool connected, eof;
	bool fin_received; /* plain: eof */
	bool stopped_reading; /* set by the test, see sim_peer_resume_reading() */
	bool sends_first;     /* does not read while it has unsent output */
	bool uncut;           /* the seed does not cut its output into pieces */
	bool fin_wanted, fin_sent, close_wanted, reset_wanted, waited_before_reset;
	char *in;             /* all bytes received, and a NUL */
	size_t in_n, in_used; /* in_used: how many of them the script has handled */
	char *out;            /* all bytes to send */
	size_t out_n, out_sent;
	uint64_t eof_ms; /* when the end or an error was received; 0: not yet */
	char *in_flight; /* the piece of `out` that is being sent */
	struct io_connect connect;
	struct io_recv recv;
	struct io_send send;
	struct iovec iov;
	struct timer pause;
	uint32_t pause_ms; /* > 0: a pause of this length between two pieces */
	unsigned step;     /* for the script */
	bool head_seen, head_handled, fails; /* for the script */
	struct tls *tls;      /* NULL: plain; see lib/simtls.h */
	char *plain;          /* secured: all bytes to send; `out` and `in_flight` have records */
	size_t plain_n, plain_sealed;
	bool cuts_off;        /* secured: FIN and close without close_notify */
	bool crumbs;          /* its first bytes go one or two at a time */
	struct simtls_faults tls_faults;
	/* Bytes, the end or an error were received; may be NULL. */
	void (*on_input)(struct sim_peer *p);
	void *owner; /* for the script; at first its server's owner */
};

/* A listening socket; accepts each connection as a new peer. */
struct sim_server {
	struct simrig *rig;
	struct list node;
	struct sockaddr_in addr;
	int listener; /* -1: not listening */
	struct io_accept accept;
	void (*on_input)(struct sim_peer *p); /* of each peer that it accepts */
	void (*on_accept)(struct sim_peer *p); /* may be NULL; set after sim_server_open() */
	void *owner;
	struct tls_context *tls; /* its peers are secured, with the thread of the tick; NULL: plain */
	unsigned accepted;
	struct sim_peer *last; /* accepted last */
};

void simrig_open(struct simrig *r, uint64_t seed, uint32_t buffers);

/* simrig_close_peers(), then asserts that no socket, op or buffer is left. */
void simrig_close(struct simrig *r);

/* Closes servers and peers. The code under test keeps what it has. */
void simrig_close_peers(struct simrig *r);

/* A pseudo-random number below n, from the seed. */
uint64_t simrig_draw(struct simrig *r, uint64_t n);

/* Runs the loop for so much virtual time. */
void simrig_run(struct simrig *r, uint32_t ms);

/* Runs the loop until the condition holds, at most `ms` of virtual time. Its value: the
 * condition. SIMRIG_UNTIL() asserts it. */
#define SIMRIG_REACHED(r, condition, ms)                                              \
	({                                                                            \
		simrig_alarm((r), (ms));                                              \
		while (!(condition) && timer_armed(&(r)->alarm))                      \
			tick_once(&(r)->tick);                                        \
		timer_stop(&(r)->tick.wheel, &(r)->alarm);                            \
		(condition);                                                          \
	})
#define SIMRIG_UNTIL(r, condition, ms) assert_true(SIMRIG_REACHED(r, condition, ms))
void simrig_alarm(struct simrig *r, uint32_t ms);

struct sockaddr_in simrig_address(unsigned port);

/* Returns a listening socket for the code under test. */
int simrig_listen(struct simrig *r, unsigned port);

/* Returns a connected socket for the code under test; *p is the peer at the other end. */
int simrig_pair(struct simrig *r, struct sim_peer **p);

/* Asserts that every buffer and block was returned to the pool. */
void simrig_assert_buffers(struct simrig *r);

struct sim_peer *sim_peer_connect(struct simrig *r, unsigned port);

/* Adds to the peer's output; the bytes are copied. */
void sim_peer_send(struct sim_peer *p, struct slice bytes);
void sim_peer_send_text(struct sim_peer *p, const char *text);

/* For lib/simtls.c: bytes as they are on the wire, and plaintext that was received. */
void sim_peer_append_output(struct sim_peer *p, const void *bytes, size_t n);
void sim_peer_append_input(struct sim_peer *p, const char *bytes, size_t n);

/* After all output was sent: FIN; close; reset, late enough not to overtake the output. Secured:
 * close_notify before FIN and close. */
void sim_peer_shutdown(struct sim_peer *p);
void sim_peer_close(struct sim_peer *p);
void sim_peer_reset(struct sim_peer *p);

/* At once; unsent output is dropped. */
void sim_peer_close_now(struct sim_peer *p);
void sim_peer_reset_now(struct sim_peer *p);

/* From now on the peer reads only when all its output was sent. */
void sim_peer_send_first(struct sim_peer *p);

/* Clears `stopped_reading`. */
void sim_peer_resume_reading(struct sim_peer *p);

/* All bytes received so far. */
struct slice sim_peer_received(const struct sim_peer *p);

/* The end or an error was received. */
bool sim_peer_finished(const struct sim_peer *p);

/* Opening again after sim_server_close() is allowed. */
void sim_server_open(struct sim_server *s, struct simrig *r, unsigned port,
		     void (*on_input)(struct sim_peer *p), void *owner);

/* Stops listening. Connections that were accepted stay. */
void sim_server_close(struct sim_server *s);

#endif

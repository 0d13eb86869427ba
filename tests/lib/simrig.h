/* A tick on the simulated engine, and scripted peers in the same loop: virtual time, and
 * every byte's way drawn by a seed.
 *
 * An actor is one end of a connection. It stands on bare operations, so that what is tested
 * is not tested with itself, and takes nothing from slabs, so that slab_fail_at() counts
 * the tested side only. What it is given to say leaves in pieces that the seed cuts. */
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
	struct list actors, hosts;
	struct timer alarm;
	unsigned pairs;
};

struct actor {
	struct simrig *rig;
	struct host *host;    /* that accepted it; NULL: it has connected */
	struct list node;
	int fd;               /* -1: not yet, or closed */
	int connect_error, error, send_error;
	bool connected, eof;
	bool deaf;            /* does not read */
	bool speaks_first;    /* does not read while it has something to say */
	bool whole;           /* says all at once, not cut by the seed */
	bool fin_wanted, fin_sent, close_wanted, reset_wanted, rested;
	char *in;             /* all that it was told */
	size_t in_n, in_at;   /* in_at: up to where its script has looked */
	char *out;            /* all that it has to say */
	size_t out_n, out_sent;
	uint64_t eof_ms;      /* when it heard the end, or an error */
	char *flying;
	struct io_connect connect;
	struct io_recv recv;
	struct io_send send;
	struct iovec iov;
	struct timer pause;
	uint32_t pause_ms;    /* > 0: waits so long between two pieces */
	unsigned step;        /* its script's */
	bool head_seen, head_played, ill; /* likewise */
	void (*heard)(struct actor *a); /* bytes, the end or an error came; may be NULL */
	void *owner;          /* its script's */
};

/* Where actors are accepted. */
struct host {
	struct simrig *rig;
	struct list node;
	struct sockaddr_in addr;
	int listener;         /* -1: nobody listens */
	struct io_accept accept;
	void (*heard)(struct actor *a);
	void *owner;
	unsigned accepted;
	struct actor *last;   /* accepted last */
};

void simrig_open(struct simrig *r, uint64_t seed, uint32_t buffers);

/* Closes hosts and actors; asserts that no socket, op or buffer is left anywhere. */
void simrig_close(struct simrig *r);

/* The first half of it: only what the tested side has is left. */
void simrig_leave(struct simrig *r);

/* A number below n, by the seed. */
uint64_t simrig_draw(struct simrig *r, uint64_t n);

/* Goes on for some virtual time. */
void simrig_run(struct simrig *r, uint32_t ms);

/* Goes on until the condition holds; false: it did not within so much virtual time. */
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

/* A listening socket number for the tested side. */
int simrig_listen(struct simrig *r, unsigned port);

/* A socket number for the tested side, and the actor at its other end. */
int simrig_pair(struct simrig *r, struct actor **a);

/* Asserts that every buffer and block has come back. */
void simrig_assert_buffers(struct simrig *r);

struct actor *actor_connect(struct simrig *r, unsigned port);
void actor_say(struct actor *a, struct slice bytes);
void actor_says(struct actor *a, const char *text);

/* After what it has to say: FIN, or the socket closed, or a reset (late enough not to
 * overtake it); at once: a reset. */
void actor_shut(struct actor *a);
void actor_reset_after(struct actor *a);
void actor_close(struct actor *a);
void actor_reset(struct actor *a);
void actor_speak_first(struct actor *a); /* from now on */
void actor_vanish(struct actor *a); /* at once, without a word about what is unsaid */

/* Reads on. */
void actor_listen(struct actor *a);

struct slice actor_heard(const struct actor *a);
bool actor_over(const struct actor *a); /* heard the end, or an error */

void host_open(struct host *h, struct simrig *r, unsigned port, void (*heard)(struct actor *a),
	       void *owner);
void host_close(struct host *h); /* those that it has accepted stay */

#endif

/* Messages from the supervisor to the worker process: the setup of a worker process,
 * which is a configuration and its descriptors, over a socketpair of its own.
 *
 * A setup is a sequence of struct handover that ends with HANDOVER_END. Descriptors are
 * passed with SCM_RIGHTS; the bytes of a configuration follow their message. All calls
 * block: the worker process reads the whole setup when it starts, and after each
 * CHANNEL_LOAD.
 *
 * A second socketpair, the channel, carries messages of one byte in both directions. The
 * values of both are part of the protocol between programs of different versions
 * (run/upgrade.h). */
#ifndef RUN_HANDOVER_H
#define RUN_HANDOVER_H

#include <stdbool.h>
#include <stddef.h>

enum handover_kind {
	HANDOVER_CONFIG,   /* a snapshot of the configuration; `value` bytes follow */
	HANDOVER_LISTENER, /* a listening socket of worker `worker`; `value`: its address */
	HANDOVER_LISTENER_KEPT, /* listeners of address `value` stay open */
	HANDOVER_ADMIN,         /* the listening socket of the admin address */
	HANDOVER_ADMIN_KEPT,    /* the admin address stays open */
	HANDOVER_LOG, /* access log `index` of worker `worker`; `value`: is a regular file */
	HANDOVER_LOG_KEPT, /* access log `index` is log `value` of the workers' configuration */
	HANDOVER_END,      /* end of the setup */
	HANDOVER_KEYLOG,   /* the file `keylog` of config->tls[value] */
	HANDOVER_ERROR_LOG, /* output `index` of the error log, after a reload */
};

struct handover {
	enum handover_kind kind;
	unsigned worker, value;
	int fd; /* -1: none. The receiver owns its copy */
	/* of LISTENER and LISTENER_KEPT: of the address in config->listens; of LOG and LOG_KEPT: in
	 * config->logs; of ERROR_LOG: in config->error_logs */
	unsigned index;
};

/* One-byte messages to the worker process: */
#define CHANNEL_DRAIN 'D'            /* drain and end */
#define CHANNEL_DRAIN_GRACEFULLY 'T' /* likewise; another process has the listening sockets now */
#define CHANNEL_LOAD 'L'             /* a setup follows: prepare and adopt it */
#define CHANNEL_REARM 'W'            /* another process stops or has ended: listener_rearm() */
/* To the supervisor: */
#define CHANNEL_READY_RING 'R'       /* ready, with the engine io_uring */
#define CHANNEL_READY_EPOLL 'E'      /* ready, with the engine epoll */
#define CHANNEL_ADOPTED 'A'          /* the setup of CHANNEL_LOAD is in force */
#define CHANNEL_REFUSED 'N'          /* it is not; the previous configuration continues */
#define CHANNEL_LOG_GONE 'G'         /* the daemon of a log does not listen: connect again */
#define CHANNEL_ALIVE 'H'            /* once a second, if options.watchdog_ms: all loops run */

/* Returns 0 or a negative errno. The sender keeps its descriptor. */
int handover_send(int channel, const struct handover *h);
int handover_send_bytes(int channel, const void *bytes, size_t n);

/* Returns 0 or a negative errno; -EPIPE: the sender has closed the channel. */
int handover_receive(int channel, struct handover *h);
int handover_receive_bytes(int channel, void *bytes, size_t n);

/* Whether a received message lacks its descriptor: the receiver is at its limit of open
 * descriptors, and the kernel discarded it. */
bool handover_lacks_fd(const struct handover *h);

#endif

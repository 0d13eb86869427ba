/* One question to one server whether it is well.
 *
 *          probe_start             connected           decided
 *   IDLE ──────────────▶ CONNECTING ────────▶ ASKING ─────────▶ ENDING ──▶ IDLE
 *     ▲                      │ refused, late                       dead
 *     └──────────────────────┘
 *
 * Embedded in its owner and used again; idle it owns nothing. `decided` or `skipped` is called
 * once for each start that was not cancelled, `ended` when it is idle again. */
#ifndef WATCH_PROBE_H
#define WATCH_PROBE_H

#include "config/config.h"
#include "message/reader.h"
#include "message/writer.h"

enum probe_state { PROBE_IDLE, PROBE_CONNECTING, PROBE_READING, PROBE_ENDING };

struct probe {
	struct tick *tick;
	const struct config_health *health;
	struct slice request;   /* lives as long as the probe */
	struct head *head;      /* scratch */
	uint8_t lenient;        /* what a response is forgiven: http/lenient.h */
	/* why: what is wrong, NULL: nothing; lives for the call. */
	void (*decided)(struct probe *p, const char *why);
	/* It could not be asked, for lack of memory, ports or descriptors of our own. */
	void (*skipped)(struct probe *p);
	void (*ended)(struct probe *p);
	uint8_t state;          /* enum probe_state */
	bool late, cancelled;
	int connect_result;
	struct sockaddr_storage sa;
	struct io_connect connect;
	struct conn conn;
	struct reader reader;
	struct writer writer;
	struct timer timer;     /* its whole time */
	struct task task;
	struct reap reap; /* of a connect that came to nothing */
};

/* The fields above `state` are filled in. */
void probe_init(struct probe *p);

/* It is idle. */
void probe_start(struct probe *p, const struct sockaddr_storage *sa, socklen_t len);

/* Nothing is decided any more; `ended` follows, unless it is idle. */
void probe_cancel(struct probe *p);

#endif

/* One probe: a health check of one server.
 *
 *          probe_start             connected            decided          conn dead
 *   IDLE ──────────────▶ CONNECTING ────────▶ READING ─────────▶ ENDING ─────────▶ IDLE
 *     │                      └── refused, timed out, cancelled ──▲
 *     └── no memory ─────────────────────────────────────────────┘
 *
 * Embedded in its owner and reused; an idle probe owns nothing. For each start that was
 * not cancelled `decided` or `skipped` is called once; `ended` is called when it is idle
 * again. */
#ifndef WATCH_PROBE_H
#define WATCH_PROBE_H

#include "config/config.h"
#include "message/reader.h"
#include "message/writer.h"
#include "net/dial.h"

enum probe_state { PROBE_IDLE, PROBE_CONNECTING, PROBE_READING, PROBE_ENDING };

struct probe {
	struct tick *tick;
	const struct config_health *health;
	/* Of each connection: see net/dial.h. No context: plain. */
	struct tls_context *context;
	struct slice name, sni;
	struct tls_saved *saved;
	struct slice request;   /* valid as long as the probe */
	struct head *head;      /* scratch */
	uint8_t proxy_protocol; /* enum config_proxy_protocol: a header without addresses */
	uint8_t lenient;        /* tolerated deviations of a response: http/lenient.h */
	/* why: the failure, valid during the call; NULL: success. */
	void (*decided)(struct probe *p, const char *why);
	/* Not probed: we lack memory, ports or descriptors. */
	void (*skipped)(struct probe *p);
	void (*ended)(struct probe *p);
	uint8_t state;          /* enum probe_state */
	bool cancelled;
	uint64_t deadline_ms; /* of the whole probe */
	struct dial *dial;    /* CONNECTING, else NULL */
	struct buf *preamble; /* the header; NULL: none */
	struct conn conn;
	struct reader reader;
	struct writer writer;
	struct timer timer; /* READING: the deadline */
	struct task task;
};

/* The caller has set the fields before `state`. */
void probe_init(struct probe *p);

/* Asserts what holds in each state. */
void probe_check(const struct probe *p);

/* Starts an idle probe. */
void probe_start(struct probe *p, const struct sockaddr_storage *sa, socklen_t len);

/* Neither `decided` nor `skipped` will be called; `ended` follows, unless the probe is
 * idle. */
void probe_cancel(struct probe *p);

#endif

/* Sends the spans of sampled traces to a collector, in batches: OTLP/HTTP with JSON (OpenTelemetry
 * Protocol 1.x, "OTLP/HTTP"), as `tracing.export` says.
 *
 *   IDLE ─▶ SENDING ─▶ READING ─▶ IDLE   the batch was taken, or refused
 *     ▲        ▼          ▼
 *     └───── PAUSING ◀────┘             it failed, or 429, 502, 503, 504: the batch stays
 *
 *   IDLE     no request to the collector; spans may wait for `interval` or a full batch
 *   SENDING  a fetch sends the oldest batch, or waits for the head of the response
 *   READING  its head was read; the body may say how many spans were refused
 *   PAUSING  for EXPORT_PAUSE_MS, doubled with each failure, or as long as Retry-After says
 *
 * Requests never wait for it: a span is written to memory when its attempt or exchange ends.
 * Limits: `queue` spans wait; further ones are dropped and counted. A batch is at most `batch`
 * spans or SPAN_BLOCKS_MAX blocks. At a drain what waits is sent once more, within EXPORT_DRAIN_MS.
 *
 * Owner: the proxy of the worker; each worker sends its own. */
#ifndef PROXY_EXPORTER_H
#define PROXY_EXPORTER_H

#include "base/list.h"
#include "base/slab.h"
#include "http/emit.h"
#include "net/tick.h"

#define SPAN_BYTES_MAX 4096u
#define SPAN_BLOCK_BYTES 8192u
#define SPAN_BLOCKS_MAX 256
#define EXPORT_PAUSE_MS 1000
#define EXPORT_PAUSE_MAX_MS 30000
#define EXPORT_DRAIN_MS 5000
/* Longer ones of a collector are shortened to it. */
#define EXPORT_RETRY_AFTER_MAX_S 300
/* Of the body of a response: kept for its message; read, so that its connection can be kept. */
#define EXPORT_ANSWER_BYTES 1024
#define EXPORT_BODY_BYTES 65536

struct buf;
struct fetch;
struct proxy;
struct source;

enum exporter_state { EXPORTER_IDLE, EXPORTER_SENDING, EXPORTER_READING, EXPORTER_PAUSING };

struct span_batch {
	struct list node; /* in exporter->ready, once it is complete */
	uint32_t span_n;
	uint32_t bytes;
	uint32_t block_n;
	struct buf *blocks[SPAN_BLOCKS_MAX];
};

struct exporter {
	struct proxy *proxy;
	uint8_t state;              /* enum exporter_state */
	bool draining, abandoned;
	struct task task;
	struct timer interval;      /* `filling` is complete then; draining: the end of that */
	struct timer pause;
	struct slab batches;
	struct span_batch *filling; /* NULL: none */
	struct list ready;          /* batches, the oldest first; the first is the one being sent */
	uint32_t queued_n;          /* spans of all batches */
	struct source *source;      /* of the fetch: SENDING, READING */
	struct fetch *fetch;
	uint32_t sent_n;            /* blocks of the first batch that the fetch was given */
	bool sent;                  /* all of them */
	int status;                 /* READING: of the response */
	uint32_t retry_after_s;     /* likewise; 0: it does not say */
	uint32_t answer_n, read_n;
	uint32_t pause_ms;          /* the last one; 0: the last request was successful */
	uint64_t drain_until_ms;
	char answer[EXPORT_ANSWER_BYTES + 1];
};

void exporter_init(struct exporter *e, struct proxy *p);
void exporter_done(struct exporter *e);

/* Another configuration is in force. Without `tracing.export` all spans that wait are dropped. */
void exporter_configure(struct exporter *e);

/* Begins a span: the area that it is to be written to. False: it is not wanted, or dropped. */
bool exporter_begin(struct exporter *e, struct emit *out);

/* The span is complete. One that did not fit is dropped. */
void exporter_end(struct exporter *e, const struct emit *out);

/* For shutdown, once no exchange is left: sends what waits. True: nothing waits any more, or the
 * time for it is over. */
bool exporter_drain(struct exporter *e);

/* exporter_drain() sends nothing from now on. */
void exporter_abandon(struct exporter *e);

/* Asserts what holds in each state. */
void exporter_check(const struct exporter *e);

#endif

/* A long response of the admin address: written in chunks, as its client reads.
 *
 * A chunk is written for each run of the admin's task, round-robin among the responses, so a slow
 * or large one does not delay the others. Its source may have to wait for a worker
 * (CHUNK_WAIT), and the status may be known with the first chunk only.
 *
 * Owner: the admin. The struct is a member of its source's, which `free` gives up. Limits: the
 * memory in use is a chunk and what the client has not read. Errors: the response is aborted. */
#ifndef RUN_WORKER_CHUNKS_H
#define RUN_WORKER_CHUNKS_H

#include "run/worker/admin.h"

/* Size of a chunk: some hundred lines of /metrics. */
#define CHUNK_BYTES 49152

struct chunks;

enum chunks_next {
	CHUNK_MORE, /* call again */
	CHUNK_WAIT, /* nothing was written; chunks_resume() follows */
	CHUNK_END,  /* this was the last one */
};

struct chunks_source {
	/* Writes *n bytes, perhaps none; size >= CHUNK_BYTES. May set chunks->status at the first
	 * call that does not return CHUNK_WAIT. */
	enum chunks_next (*read)(struct chunks *c, char *room, size_t size, size_t *n);
	/* The response has ended, or its client has left. */
	void (*free)(struct chunks *c);
};

struct chunks {
	const struct chunks_source *source;
	struct admin *admin;
	struct stream *stream;
	struct task task;    /* run on events of the stream */
	struct list node;    /* in admin->chunks, if it can write its next chunk */
	struct slice type;   /* Content-Type */
	int status;
	bool head_sent;
	bool chunked;        /* else the end of the connection delimits the body (HTTP/1.0) */
	bool keep_alive;     /* keep the connection open afterwards */
};

/* Begins a response to the request of this stream. The source, type and status of `c` are set;
 * the rest is zero. minor: of the request. */
void chunks_begin(struct chunks *c, struct admin *a, struct stream *s, int minor);

/* After CHUNK_WAIT: the source can go on. */
void chunks_resume(struct chunks *c);

/* The response in progress on this stream. */
struct chunks *chunks_of(const struct stream *s);

/* Ends it at once. */
void chunks_abort(struct chunks *c);

/* The connection was closed under it. */
void chunks_closed(struct stream *s);

/* The admin's task. */
void chunks_write_next(struct task *task);

/* Writes a head with the date into `b`, with space for a body of this length. */
struct forward_reply;
void admin_write_head(struct admin *a, struct stream *s, struct field_block *b,
		      const struct forward_reply *r, size_t body_bytes);

#endif

/* What is recorded of an exchange for its log lines and for others: its id, its trace, and its
 * upstream. An exchange whose configuration asks for none of it has no record.
 *
 * Owner: the exchange. Limits: ids of LOG_RECORD_ID_MAX bytes. Errors: none. */
#ifndef PROXY_LOGRECORD_H
#define PROXY_LOGRECORD_H

#include "config/config.h"
#include "http/forward.h"
#include "http/traceparent.h"
#include "net/tick.h"

#define LOG_RECORD_ID_MAX 64

struct random;

struct log_record {
	struct slab_reap reap;
	const struct config *config; /* of the exchange */
	const char *upstream;     /* that was asked last; the configuration's. NULL: none */
	struct traceparent trace; /* its span is this request here */
	bool traced;
	bool exported;            /* its spans are exported: proxy/exporter.h */
	bool has_parent;          /* the trace came with the request */
	char parent_id[SPAN_ID_TEXT]; /* then: the span that this request is part of */
	/* Of the request to a server whose head was written last, if spans are exported; such a
	 * request is a span of its own. */
	char try_id[SPAN_ID_TEXT];
	uint8_t id_bytes;         /* 0: there is no id */
	char id[LOG_RECORD_ID_MAX];
};

/* The fields that a request to a server, or a response, gets for its record. */
#define LOG_RECORD_FIELDS_MAX 4
struct log_record_fields {
	unsigned n;
	struct forward_field fields[LOG_RECORD_FIELDS_MAX];
	char traceparent[TRACEPARENT_TEXT];
};

/* Chooses the id of a request: that of the head, if the peer is believed and the id is valid, else
 * a new one. `trusted`: the peer is one of trusted_proxies. */
void log_record_identify(struct log_record *r, const struct head *h, bool trusted,
			 struct random *random, uint64_t wall_ms);

/* Continues the trace of the head, if the peer is believed and the field is valid, else begins a
 * new one. */
void log_record_trace(struct log_record *r, const struct head *h, bool trusted,
		      struct random *random);

/* A new id of a span. */
void log_record_span_id(char id[SPAN_ID_TEXT], struct random *random);

/* The head of another request to a server will be written. `r` may be NULL. */
void log_record_next_try(struct log_record *r, struct random *random);

/* `r` may be NULL: no fields. */
void log_record_request_fields(struct log_record_fields *f, const struct log_record *r);
void log_record_response_fields(struct log_record_fields *f, const struct log_record *r);

static inline struct slice log_record_trace_id(const struct log_record *r)
{
	return r && r->traced ? (struct slice){ r->trace.trace_id, TRACE_ID_TEXT }
			      : (struct slice){ "", 0 };
}

static inline struct slice log_record_id(const struct log_record *r)
{
	return r ? (struct slice){ r->id, r->id_bytes } : (struct slice){ "", 0 };
}

#endif

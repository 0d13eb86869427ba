/* The error log of a process that serves: one line for each event (base/event.def).
 *
 * A line is dropped if its event is less severe than the level, which the supervisor and its worker
 * processes share. Until errorlog_set_level() all lines are written.
 *
 * Lines go to standard error, which never blocks (base/diagnostics). Control characters and what is
 * not UTF-8 are escaped: an event has one line, whatever a client or a server has sent.
 *
 * Owner: the process; any thread may write. Limits: a line of ERRORLOG_LINE_MAX bytes; what is
 * longer is cut. Errors: none; lines that cannot be written are lost and counted. */
#ifndef BASE_ERRORLOG_H
#define BASE_ERRORLOG_H

#include <stdbool.h>
#include <stdio.h>

#include "base/slice.h"

#define ERRORLOG_LINE_MAX 2048

/* The numbers of syslog (RFC 5424 6.2.1). */
enum errorlog_level {
	LEVEL_CRITICAL = 2,
	LEVEL_ERROR,
	LEVEL_WARNING,
	LEVEL_NOTICE,
	LEVEL_INFO,
};

enum errorlog_event {
#define EVENT(name, word, level, help) EVENT_##name,
#include "base/event.def"
#undef EVENT
	EVENTS,
};

/* The columns of event.def. */
struct event_row {
	const char *word;
	enum errorlog_level level;
	const char *help;
};
extern const struct event_row event_rows[EVENTS];

/* Once, before the first fork(): processes that are forked later share the level. Without it, each
 * process has its own. */
void errorlog_open(void);

/* Writes a line. The format has no line feed at its end. */
void errorlog_put(enum errorlog_event event, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* A stream each of whose lines is one of `event`, as the reader of the configuration prints them:
 * "FILE:LINE:COLUMN: TEXT". Of EVENT_CONFIG_FAULT, a TEXT that begins with "warning: " is one of
 * EVENT_CONFIG_WARNING. There is one stream: another call ends what the previous one was for. For
 * one thread of a process. */
FILE *errorlog_stream(enum errorlog_event event);

/* ---- levels ----------------------------------------------------------------- */

/* Of all processes that share it, from the next line on. From any thread. */
void errorlog_set_level(enum errorlog_level level);

enum errorlog_level errorlog_level(void);

const char *errorlog_level_word(enum errorlog_level level);

/* False: there is no such level. */
bool errorlog_level_by_word(struct slice word, enum errorlog_level *level);

#endif

/* The error log of a process that serves: one line for each event (base/event.def).
 *
 * It has up to ERRORLOG_OUTPUTS_MAX outputs. An output drops lines of events that are less severe
 * than its level, or than the level that was set at run time, which the supervisor and its worker
 * processes share. Of each kind of event it writes `rate` lines in ERRORLOG_WINDOW_MS; further ones
 * are counted, and their number is a line of its own ("12 more like this"). What is said of a
 * configuration has a limit of its own (config/report.h) and is not counted.
 *
 * Until errorlog_configure() all lines go to standard error, and until errorlog_started() they go
 * there as well: whoever starts the program sees why it does not serve.
 *
 * Writing never blocks, except for the file system of a file. Standard error is that of
 * base/diagnostics; pipes and sockets have O_NONBLOCK. Control characters and what is not UTF-8 are
 * escaped: an event has one line, whatever a client or a server has sent.
 *
 * Owner: the process; any thread may write. Limits: a message of ERRORLOG_TEXT_MAX bytes; what is
 * longer is cut. Errors: none; lines that cannot be written are lost, counted and reported. */
#ifndef BASE_ERRORLOG_H
#define BASE_ERRORLOG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/slice.h"

#define ERRORLOG_OUTPUTS_MAX 4
#define ERRORLOG_TEXT_MAX 2048
#define ERRORLOG_NAME_MAX 256
#define ERRORLOG_WINDOW_MS 10000

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

enum errorlog_target { ERRORLOG_STDERR, ERRORLOG_FILE, ERRORLOG_SYSLOG, ERRORLOG_JOURNALD };
enum errorlog_format { ERRORLOG_TEXT, ERRORLOG_JSON };

struct errorlog_output {
	enum errorlog_target target;
	enum errorlog_format format;
	enum errorlog_level level;
	uint32_t rate;     /* 0: no limit */
	unsigned facility; /* of SYSLOG, JOURNALD */
	char tag[ERRORLOG_NAME_MAX];  /* likewise */
	char name[ERRORLOG_NAME_MAX]; /* of the file or the daemon, for messages */
	int fd;            /* of all but STDERR; a datagram socket of SYSLOG and JOURNALD */
	struct sockaddr_storage sa; /* that it is connected to */
	socklen_t len;
};

/* Once, before the first fork() and while nothing is sandboxed: processes that are forked later
 * share the level. Without it, each process has its own. */
void errorlog_open(void);

/* Replaces all outputs, and takes over their descriptors. */
void errorlog_configure(const struct errorlog_output *outputs, unsigned n);

/* From now on lines go to the outputs only. */
void errorlog_started(void);

/* Writes a line. The format has no line feed at its end. */
void errorlog_put(enum errorlog_event event, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* A stream each of whose lines is one of `event`, as the reader of the configuration prints them:
 * "FILE:LINE:COLUMN: TEXT". Of EVENT_CONFIG_FAULT, a TEXT that begins with "warning: " is one of
 * EVENT_CONFIG_WARNING. There is one stream: another call ends what the previous one was for. For
 * one thread of a process. */
FILE *errorlog_stream(enum errorlog_event event);

/* Writes what is due: how many lines were suppressed, how many lost. When it should be called
 * again, in milliseconds from now; -1: not before the next line. */
int errorlog_report(void);

/* At the end of the process: writes all that errorlog_report() would write later. */
void errorlog_end(void);

/* Lines that an output other than standard error has lost, of all processes that share it. */
uint64_t errorlog_lost(void);

/* Whether the daemon of an output was gone when a line was last written there. */
bool errorlog_daemon_gone(void);

/* Connects the sockets of daemons that were gone again. The processes that share them need not do
 * anything. For a process that may connect. */
void errorlog_reconnect(void);

/* Connects a datagram socket again whose peer is gone. True: it was, and is connected now. */
bool errorlog_reconnect_socket(int fd, const struct sockaddr *sa, socklen_t len);

/* ---- levels ----------------------------------------------------------------- */

/* Of all outputs and processes, from the next line on, until errorlog_reset_level(). From any
 * thread. */
void errorlog_set_level(enum errorlog_level level);

/* Each output has its own level again. */
void errorlog_reset_level(void);

/* The level that was set, else that of the output that writes most. */
enum errorlog_level errorlog_level(void);

const char *errorlog_level_word(enum errorlog_level level);

/* False: there is no such level. */
bool errorlog_level_by_word(struct slice word, enum errorlog_level *level);

#endif

/* The access log of one worker: one line for each exchange that ended.
 *
 * Lines gather in a buffer that is written when it is half full or ACCESS_FLUSH_MS old,
 * through the loop (the ring on io_uring, a writer thread on epoll): no worker ever waits for
 * a disk. While one buffer is being written the other fills; if both are full, or the disk
 * is, lines are dropped and counted. */
#ifndef PROXY_ACCESS_H
#define PROXY_ACCESS_H

#include "base/slice.h"
#include "base/stats.h"
#include "config/config.h"
#include "io/sock.h"
#include "net/tick.h"

#define ACCESS_BUFFER_BYTES 65536u
#define ACCESS_FLUSH_MS 100

struct access_entry {
	const struct peer *peer;
	struct slice request_line; /* as received; empty: it could not be read */
	struct slice host, referer, user_agent;
	int status;                /* 0: nothing was answered */
	uint64_t sent_bytes;       /* of body */
	uint64_t took_us;
	const char *server;        /* who answered; NULL: we did */
	unsigned attempts_n;          /* times that an upstream was asked */
	const char *hedge;         /* what came of a second try beside the first; NULL: none */
	const char *ending;
};

struct access {
	struct tick *tick;
	struct worker_stats *stats;
	enum config_log format;
	int fd;
	struct io_write write;
	char *filling, *writing;
	uint32_t filled;
	const char *at;      /* in `writing`: what the next write begins with */
	uint32_t unwritten;  /* from there on */
	uint32_t write_max;
	uint32_t filling_lines, writing_lines, write_lines; /* the last: of this write */
	struct timer flush;
	uint64_t text_s;     /* the second that `text` tells */
	char text[40];
};

/* Returns 0 or -ENOMEM. fd stays the caller's. The time zone was read before (tzset()), if
 * files cannot be opened later. */
int access_init(struct access *a, struct tick *tick, struct worker_stats *stats,
		enum config_log format, int fd);

/* fd is a pipe, socket or terminal that others write to as well: from now on in writes of whole
 * lines that fit PIPE_BUF, between which the kernel puts nothing. A longer line is at the
 * mercy of the others. */
void access_limit_writes(struct access *a);

void access_log(struct access *a, const struct access_entry *x);

/* Starts to write what is there. */
void access_flush(struct access *a);

/* All is written. */
bool access_idle(const struct access *a);
void access_done(struct access *a);

#endif

#include "proxy/access.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "http/emit.h"
#include "logline.h"

/* A longer line is dropped, not cut. Twice the default limit of a request head. */
#define LINE_MAX_BYTES 32768u

static void flush_expired(struct timer *t)
{
	access_flush(CONTAINER(t, struct access, flush));
}

/* In a buffer, a datagram is its length and its bytes. */
static uint32_t datagram_bytes(const char *at)
{
	uint32_t n;

	memcpy(&n, at, sizeof(n));
	return n;
}

/* Length of the next write: as many whole lines as fit, or one line that is longer. */
static uint32_t next_write(const struct access *a)
{
	const char *end;

	if (a->unwritten <= a->write_max)
		return a->unwritten;
	end = memrchr(a->at, '\n', a->write_max);
	if (!end)
		end = memchr(a->at, '\n', a->unwritten);
	return end ? (uint32_t)(end + 1 - a->at) : a->unwritten;
}

static uint32_t lines_of(const char *bytes, uint32_t n)
{
	uint32_t lines = 0;

	for (const char *end = bytes + n; bytes < end; lines++) {
		const char *newline = memchr(bytes, '\n', (size_t)(end - bytes));

		bytes = newline ? newline + 1 : end;
	}
	return lines;
}

static void write_datagram(struct access *a)
{
	uint32_t n = datagram_bytes(a->at);

	a->write_lines = 1;
	a->writing_lines--;
	io_write(a->tick->loop, &a->write, a->fd, a->at + sizeof(n), n);
	a->at += sizeof(n) + n;
	a->unwritten -= (uint32_t)sizeof(n) + n;
}

static void write_next(struct access *a)
{
	uint32_t n;

	if (a->datagrams) {
		write_datagram(a);
		return;
	}
	n = next_write(a);

	a->write_lines = n == a->unwritten ? a->writing_lines : lines_of(a->at, n);
	io_write(a->tick->loop, &a->write, a->fd, a->at, n);
	a->writing_lines -= a->write_lines;
	a->at += n;
	a->unwritten -= n;
}

static void count_dropped(struct access *a, uint32_t lines, int error)
{
	stat_set(&a->stats->log_error, (uint64_t)error);
	stat_add(&a->stats->log_lines_dropped, lines);
}

static void write_again_later(struct access *a, uint32_t ms)
{
	uint32_t n = (uint32_t)a->write.len, prefix = a->datagrams ? sizeof(n) : 0;

	a->at = a->write.ptr - prefix;
	a->unwritten += prefix + n;
	a->writing_lines += a->write_lines;
	timer_set(&a->tick->wheel, &a->retry, a->tick->now_ms + ms);
}

static void retry_expired(struct timer *t)
{
	write_next(CONTAINER(t, struct access, retry));
}

/* After a write that failed: whether the daemon is gone, and lines still wait for it. */
static bool waits_for_daemon(struct access *a, int res)
{
	if (!a->datagrams || (res != -ECONNREFUSED && res != -ENOTCONN))
		return false;
	stat_add(&a->stats->log_refusals, 1);
	if (a->gone_ms == 0)
		a->gone_ms = a->tick->now_ms;
	return a->tick->now_ms - a->gone_ms < ACCESS_GONE_MS;
}

static void written(struct io_op *op, int res, unsigned flags)
{
	struct access *a = CONTAINER(op, struct access, write.op);

	(void)flags;
	if (res == -EAGAIN && a->write.nowait) { /* its reader takes nothing now */
		write_again_later(a, ACCESS_RETRY_MS);
		return;
	}
	if (waits_for_daemon(a, res)) {
		write_again_later(a, ACCESS_GONE_RETRY_MS);
		return;
	}
	if (res < 0) {
		count_dropped(a, a->write_lines, -res);
	} else {
		stat_add(&a->stats->log_lines, a->write_lines);
		a->gone_ms = 0;
	}
	if (a->unwritten > 0)
		write_next(a);
	else
		access_flush(a);
}

int access_init(struct access *a, struct tick *tick, struct worker_stats *stats,
		const struct config_access_log *config, struct random *random, int fd)
{
	memset(a, 0, sizeof(*a));
	a->tick = tick;
	a->stats = stats;
	a->config = config;
	a->random = random;
	a->datagrams = config->target != CONFIG_LOG_FILE;
	a->fd = fd;
	a->write_max = UINT32_MAX;
	a->filling = malloc(ACCESS_BUFFER_BYTES);
	a->writing = malloc(ACCESS_BUFFER_BYTES);
	io_op_init(&a->write.op, written);
	a->write.nowait = a->datagrams;
	timer_init(&a->flush, flush_expired);
	timer_init(&a->retry, retry_expired);
	if (a->filling && a->writing)
		return 0;
	access_done(a);
	return -ENOMEM;
}

void access_configure(struct access *a, const struct config_access_log *config)
{
	ASSERT(config->target == a->config->target);
	a->config = config;
}

void access_limit_writes(struct access *a)
{
	a->write_max = PIPE_BUF;
	a->write.nowait = true;
}

void access_flush(struct access *a)
{
	char *full = a->filling;

	if (a->filled == 0 || a->unwritten > 0 || io_busy(&a->write.op))
		return;
	timer_stop(&a->tick->wheel, &a->flush);
	a->filling = a->writing;
	a->writing = full;
	a->writing_lines = a->filling_lines;
	a->filling_lines = 0;
	a->at = full;
	a->unwritten = a->filled;
	a->filled = 0;
	write_next(a);
}

bool access_idle(const struct access *a)
{
	return a->filled == 0 && a->unwritten == 0 && !io_busy(&a->write.op);
}

void access_done(struct access *a)
{
	timer_stop(&a->tick->wheel, &a->flush);
	timer_stop(&a->tick->wheel, &a->retry);
	free(a->filling);
	free(a->writing);
}

/* ---- lines ---------------------------------------------------------------- */

static bool put_line(struct access *a, const struct access_entry *x)
{
	uint32_t space = ACCESS_BUFFER_BYTES - a->filled;
	struct emit e = { a->filling + a->filled, NULL, false };

	e.end = e.at + (space < LINE_MAX_BYTES ? space : LINE_MAX_BYTES);
	if (a->datagrams)
		log_datagram_put(a, &e, x);
	else
		log_line_put(a, &e, x);
	if (e.overflow)
		return false;
	a->filled = (uint32_t)(e.at - a->filling);
	return true;
}

static bool is_wanted(struct access *a, const struct access_entry *x)
{
	const struct config_access_log *c = a->config;

	if (x->failed)
		return true;
	return !c->errors_only && x->took_us / 1000 >= c->slower_than_ms &&
	       (c->sample == CONFIG_SAMPLE_ALL ||
		random_below(a->random, CONFIG_SAMPLE_ALL) < c->sample);
}

void access_log(struct access *a, const struct access_entry *x)
{
	bool put;

	if (!is_wanted(a, x))
		return;
	put = put_line(a, x);
	if (!put && a->filled > 0) {
		access_flush(a);
		put = put_line(a, x);
	}
	if (!put) {
		count_dropped(a, 1, 0);
		return;
	}
	a->filling_lines++;
	if (a->filled >= ACCESS_BUFFER_BYTES / 2)
		access_flush(a);
	else if (!timer_armed(&a->flush))
		timer_set(&a->tick->wheel, &a->flush, a->tick->now_ms + ACCESS_FLUSH_MS);
}

#include "proxy/access.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/emit.h"
#include "route/route.h"

/* A longer line is dropped, not cut. Twice the default limit of a request head. */
#define LINE_MAX_BYTES 32768u

static void flush_expired(struct timer *t)
{
	access_flush(CONTAINER(t, struct access, flush));
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

static void write_next(struct access *a)
{
	uint32_t n = next_write(a);

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

static void written(struct io_op *op, int res, unsigned flags)
{
	struct access *a = CONTAINER(op, struct access, write.op);

	(void)flags;
	if (res < 0)
		count_dropped(a, a->write_lines, -res);
	else
		stat_add(&a->stats->log_lines, a->write_lines);
	if (a->unwritten > 0)
		write_next(a);
	else
		access_flush(a);
}

int access_init(struct access *a, struct tick *tick, struct worker_stats *stats,
		enum config_log format, int fd)
{
	memset(a, 0, sizeof(*a));
	a->tick = tick;
	a->stats = stats;
	a->format = format;
	a->fd = fd;
	a->write_max = UINT32_MAX;
	a->filling = malloc(ACCESS_BUFFER_BYTES);
	a->writing = malloc(ACCESS_BUFFER_BYTES);
	io_op_init(&a->write.op, written);
	timer_init(&a->flush, flush_expired);
	if (a->filling && a->writing)
		return 0;
	access_done(a);
	return -ENOMEM;
}

void access_limit_writes(struct access *a)
{
	a->write_max = PIPE_BUF;
}

void access_flush(struct access *a)
{
	char *full = a->filling;

	if (a->filled == 0 || io_busy(&a->write.op))
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
	return a->filled == 0 && !io_busy(&a->write.op);
}

void access_done(struct access *a)
{
	timer_stop(&a->tick->wheel, &a->flush);
	free(a->filling);
	free(a->writing);
}

/* ---- lines ---------------------------------------------------------------- */

/* Escapes quotes, backslashes, control characters and non-ASCII bytes, so that a client can
 * neither forge a line nor send control sequences to a terminal. */
static void put_escaped(struct emit *e, struct slice s, const char *hex_prefix)
{
	static const char digits[] = "0123456789abcdef";
	size_t from = 0;

	for (size_t i = 0; i < s.len; i++) {
		unsigned char b = (unsigned char)s.ptr[i];
		char escape[2] = { digits[b >> 4], digits[b & 15] };

		if (b >= 0x20 && b < 0x7f && b != '"' && b != '\\')
			continue;
		emit_slice(e, (struct slice){ s.ptr + from, i - from });
		emit_slice(e, slice_of(hex_prefix));
		emit_slice(e, (struct slice){ escape, 2 });
		from = i + 1;
	}
	emit_slice(e, (struct slice){ s.ptr + from, s.len - from });
}

static void put_peer(struct emit *e, const struct peer *peer)
{
	char text[SOCK_TEXT_MAX];

	emit_slice(e, (struct slice){ text, peer_text(peer, text, sizeof(text)) });
}

static struct slice time_text(struct access *a)
{
	time_t now = (time_t)(a->tick->wall_ms / 1000);
	struct tm tm;

	if (a->text_s != (uint64_t)now) {
		a->text_s = (uint64_t)now;
		if (a->format == CONFIG_LOG_JSON) {
			gmtime_r(&now, &tm);
			strftime(a->text, sizeof(a->text), "%Y-%m-%dT%H:%M:%S", &tm);
		} else {
			localtime_r(&now, &tm);
			strftime(a->text, sizeof(a->text), "%d/%b/%Y:%H:%M:%S %z", &tm);
		}
	}
	return slice_of(a->text);
}

static void put_quoted(struct emit *e, struct slice s)
{
	emit_slice(e, SLICE(" \""));
	if (s.len == 0)
		emit_slice(e, SLICE("-"));
	put_escaped(e, s, "\\x");
	emit_slice(e, SLICE("\""));
}

static void put_combined(struct access *a, struct emit *e, const struct access_entry *x)
{
	put_peer(e, x->peer);
	emit_slice(e, SLICE(" - "));
	if (x->user.len == 0)
		emit_slice(e, SLICE("-"));
	put_escaped(e, x->user, "\\x");
	emit_slice(e, SLICE(" ["));
	emit_slice(e, time_text(a));
	emit_slice(e, SLICE("]"));
	put_quoted(e, x->request_line);
	emit_slice(e, SLICE(" "));
	emit_number(e, (uint64_t)x->status);
	emit_slice(e, SLICE(" "));
	emit_number(e, x->sent_bytes);
	put_quoted(e, x->referer);
	put_quoted(e, x->user_agent);
	emit_slice(e, SLICE("\n"));
}

static void put_member(struct emit *e, const char *name, struct slice value)
{
	emit_slice(e, SLICE(",\""));
	emit_slice(e, slice_of(name));
	emit_slice(e, SLICE("\":\""));
	put_escaped(e, value, "\\u00");
	emit_slice(e, SLICE("\""));
}

static void put_count(struct emit *e, const char *name, uint64_t n)
{
	emit_slice(e, SLICE(",\""));
	emit_slice(e, slice_of(name));
	emit_slice(e, SLICE("\":"));
	emit_number(e, n);
}

/* What is not known is left out. */
static void put_tls(struct emit *e, const struct client_tls *t)
{
	const struct {
		const char *name;
		struct slice value;
	} members[] = {
		{ "cipher", t->cipher },
		{ "sni", t->sni },
		{ "alpn", t->alpn },
		{ "client", t->subject },
		{ "client_fingerprint", t->fingerprint },
		{ "ja4", t->ja4 },
	};

	emit_slice(e, SLICE(",\"tls\":{\"version\":\""));
	put_escaped(e, t->version, "\\u00");
	emit_slice(e, SLICE("\""));
	for (size_t i = 0; i < COUNT(members); i++)
		if (members[i].value.len > 0)
			put_member(e, members[i].name, members[i].value);
	if (t->resumed.len > 0) {
		emit_slice(e, SLICE(",\"resumed\":"));
		emit_slice(e, t->resumed);
	}
	emit_slice(e, SLICE("}"));
}

static void put_json(struct access *a, struct emit *e, const struct access_entry *x)
{
	uint64_t ms = a->tick->wall_ms % 1000;
	char fraction[5] = { '.', (char)('0' + ms / 100), (char)('0' + ms / 10 % 10),
			     (char)('0' + ms % 10), 'Z' };

	emit_slice(e, SLICE("{\"time\":\""));
	emit_slice(e, time_text(a));
	emit_slice(e, (struct slice){ fraction, sizeof(fraction) });
	emit_slice(e, SLICE("\",\"client\":\""));
	put_peer(e, x->peer);
	emit_slice(e, SLICE("\""));
	if (x->user.len > 0)
		put_member(e, "user", x->user);
	put_member(e, "request", x->request_line);
	put_member(e, "host", x->host);
	put_count(e, "status", (uint64_t)x->status);
	put_count(e, "sent_bytes", x->sent_bytes);
	put_count(e, "took_us", x->took_us);
	put_member(e, "server", slice_of(x->server));
	put_count(e, "tries", x->attempts_n);
	if (x->hedge)
		put_member(e, "hedge", slice_of(x->hedge));
	put_member(e, "ending", slice_of(x->ending));
	if (x->id.len > 0)
		put_member(e, "request_id", x->id);
	put_member(e, "referer", x->referer);
	put_member(e, "user_agent", x->user_agent);
	if (x->tls)
		put_tls(e, x->tls);
	emit_slice(e, SLICE("}\n"));
}

static bool put_line(struct access *a, const struct access_entry *x)
{
	uint32_t space = ACCESS_BUFFER_BYTES - a->filled;
	struct emit e = { a->filling + a->filled, NULL, false };

	e.end = e.at + (space < LINE_MAX_BYTES ? space : LINE_MAX_BYTES);
	if (a->format == CONFIG_LOG_JSON)
		put_json(a, &e, x);
	else
		put_combined(a, &e, x);
	if (e.overflow)
		return false;
	a->filled = (uint32_t)(e.at - a->filling);
	return true;
}

void access_log(struct access *a, const struct access_entry *x)
{
	bool put = put_line(a, x);

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

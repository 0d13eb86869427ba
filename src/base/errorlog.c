#include "base/errorlog.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "errorline.h"

const struct event_row event_rows[EVENTS] = {
#define EVENT(name, word, level, help) { word, LEVEL_##level, help },
#include "base/event.def"
#undef EVENT
};

static const char *const level_words[] = {
	[LEVEL_CRITICAL] = "critical", [LEVEL_ERROR] = "error",
	[LEVEL_WARNING] = "warning",   [LEVEL_NOTICE] = "notice",
	[LEVEL_INFO] = "info",
};

/* What all processes share that errorlog_open() comes before. */
struct errorlog_shared {
	_Atomic int level; /* that was set at run time; 0: none */
	_Atomic uint64_t lost;
};

/* Lines of one kind of event in the present window. */
struct kind_count {
	uint64_t since_ms;
	uint32_t written, suppressed;
};

struct output_state {
	struct errorlog_output output;
	struct kind_count kinds[EVENTS];
	uint64_t unreported; /* lost lines */
	int error;           /* of the last one */
	bool torn;           /* the last line was cut: a part of it was written */
	bool gone;           /* the daemon does not listen any more */
};

static struct errorlog_shared own;
static struct errorlog_shared *shared = &own;
/* One that writes while it holds the lock has failed an assertion. */
static pthread_mutex_t lock = PTHREAD_ERRORCHECK_MUTEX_INITIALIZER_NP;
static struct output_state outputs[ERRORLOG_OUTPUTS_MAX] = {
	{ .output = { .target = ERRORLOG_STDERR, .level = LEVEL_INFO, .fd = -1 } },
};
static unsigned output_n = 1;
static bool started, to_journal;
static char host[HOST_NAME_MAX + 1] = "-";

/* What standard error gets before errorlog_started(), beside the outputs. */
static const struct errorlog_output standard_error = { .target = ERRORLOG_STDERR,
						       .level = LEVEL_INFO,
						       .fd = -1 };

/* sd-daemon(3) */
static bool stderr_is_journal(void)
{
	const char *text = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat st;

	return text && sscanf(text, "%llu:%llu", &device, &inode) == 2 &&
	       fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device &&
	       st.st_ino == inode;
}

void errorlog_open(void)
{
	void *memory = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	to_journal = stderr_is_journal();
	if (gethostname(host, sizeof(host) - 1) < 0 || host[0] == '\0')
		strcpy(host, "-");
	if (memory != MAP_FAILED)
		shared = memory;
}

static uint64_t clock_ms(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* ---- levels ----------------------------------------------------------------- */

void errorlog_set_level(enum errorlog_level level)
{
	atomic_store(&shared->level, (int)level);
}

void errorlog_reset_level(void)
{
	atomic_store(&shared->level, 0);
}

static enum errorlog_level level_of(const struct errorlog_output *o)
{
	int level = atomic_load(&shared->level);

	return level > 0 ? (enum errorlog_level)level : o->level;
}

enum errorlog_level errorlog_level(void)
{
	enum errorlog_level level = LEVEL_CRITICAL;

	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < output_n; i++)
		if (level_of(&outputs[i].output) > level)
			level = level_of(&outputs[i].output);
	pthread_mutex_unlock(&lock);
	return level;
}

const char *errorlog_level_word(enum errorlog_level level)
{
	ASSERT(level >= LEVEL_CRITICAL && level <= LEVEL_INFO);
	return level_words[level];
}

bool errorlog_level_by_word(struct slice word, enum errorlog_level *level)
{
	for (int i = LEVEL_CRITICAL; i <= LEVEL_INFO; i++) {
		if (!slice_equal(word, slice_of(level_words[i])))
			continue;
		*level = (enum errorlog_level)i;
		return true;
	}
	return false;
}

/* ---- one output, under the lock --------------------------------------------- */

static void line_lost(struct output_state *s, int error)
{
	s->error = error;
	s->unreported++;
	s->gone = error == ECONNREFUSED || error == ENOTCONN;
	atomic_fetch_add(&shared->lost, 1);
}

static void bytes_write(struct output_state *s, const char *bytes, size_t n)
{
	ssize_t written;

	do
		written = write(s->output.fd, bytes, n);
	while (written < 0 && errno == EINTR);
	if (written == (ssize_t)n) {
		s->gone = false;
		return;
	}
	s->torn = written > 0;
	line_lost(s, written < 0 ? errno : ENOSPC);
}

static void output_write(struct output_state *s, struct errorline *l)
{
	char line[ERRORLINE_BYTES + 1], *bytes = line + 1;
	size_t n = errorline_write(bytes, l, &s->output);

	if (s->output.target == ERRORLOG_STDERR) {
		fwrite(bytes, 1, n, stderr);
		return;
	}
	if (s->torn) { /* it begins a new line */
		*--bytes = '\n';
		n++;
		s->torn = false;
	}
	bytes_write(s, bytes, n);
}

static struct errorline line_of(enum errorlog_event event, const char *text)
{
	return (struct errorline){ .event = event,
				   .text = text,
				   .wall_ms = clock_ms(CLOCK_REALTIME),
				   .pid = (int)getpid(),
				   .host = host,
				   .journal = to_journal };
}

static void write_suppressed(struct output_state *s, enum errorlog_event event)
{
	struct kind_count *k = &s->kinds[event];
	struct errorline l;
	char text[64];

	snprintf(text, sizeof(text), "%u more like this: %s", k->suppressed,
		 event_rows[event].word);
	l = line_of(event, text);
	l.suppressed = k->suppressed;
	k->suppressed = 0;
	output_write(s, &l);
}

/* A daemon that is gone is no news while it is: the report would be lost, and counted. */
static void report_lost(struct output_state *s)
{
	uint64_t n = s->unreported;
	struct errorline l;
	char text[ERRORLOG_NAME_MAX + 128];

	if (n == 0)
		return;
	snprintf(text, sizeof(text), "%llu line%s of the error log %s lost: %s",
		 (unsigned long long)n, n == 1 ? "" : "s", s->output.name,
		 s->error == EAGAIN ? "its reader is too slow" : strerror(s->error));
	l = line_of(EVENT_LINES_LOST, text);
	s->unreported = 0;
	output_write(s, &l);
	if (s->unreported == 0)
		return;
	/* The report itself is not to be counted. */
	s->unreported = n;
	atomic_fetch_sub(&shared->lost, 1);
}

/* What is due of one kind. *wait_ms: lowered to when the rest is. */
static void report_kind(struct output_state *s, enum errorlog_event event,
			uint64_t now_ms, int *wait_ms)
{
	struct kind_count *k = &s->kinds[event];
	uint64_t end_ms = k->since_ms + ERRORLOG_WINDOW_MS;

	if (k->suppressed == 0)
		return;
	if (now_ms >= end_ms)
		write_suppressed(s, event);
	else if (*wait_ms < 0 || (uint64_t)*wait_ms > end_ms - now_ms)
		*wait_ms = (int)(end_ms - now_ms);
}

/* Whether the output writes one more line of the kind now; else it is counted. */
static bool rate_permits(struct output_state *s, enum errorlog_event event)
{
	struct kind_count *k = &s->kinds[event];
	uint64_t now_ms = clock_ms(CLOCK_MONOTONIC);
	int wait_ms = -1;

	if (s->output.rate == 0 || event == EVENT_CONFIG_FAULT ||
	    event == EVENT_CONFIG_WARNING)
		return true;
	if (now_ms >= k->since_ms + ERRORLOG_WINDOW_MS) {
		report_kind(s, event, now_ms, &wait_ms);
		*k = (struct kind_count){ .since_ms = now_ms };
	}
	if (k->written >= s->output.rate) {
		k->suppressed++;
		return false;
	}
	k->written++;
	return true;
}

/* ---- all outputs ------------------------------------------------------------ */

static void write_early(const struct errorline *l)
{
	char line[ERRORLINE_BYTES];

	for (unsigned i = 0; i < output_n; i++)
		if (outputs[i].output.target == ERRORLOG_STDERR)
			return;
	fwrite(line, 1, errorline_write(line, l, &standard_error), stderr);
}

static void line_put(enum errorlog_event event, const char *text, bool bare)
{
	struct errorline l = line_of(event, text);

	l.bare = bare;
	if (pthread_mutex_lock(&lock) != 0) {
		fprintf(stderr, "fairlead: %s\n", text); /* see `lock` */
		return;
	}
	if (!started)
		write_early(&l);
	for (unsigned i = 0; i < output_n; i++) {
		struct output_state *s = &outputs[i];

		if (event_rows[event].level > level_of(&s->output) ||
		    !rate_permits(s, event))
			continue;
		report_lost(s);
		output_write(s, &l);
	}
	pthread_mutex_unlock(&lock);
}

void errorlog_put(enum errorlog_event event, const char *format, ...)
{
	char text[ERRORLOG_TEXT_MAX];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	line_put(event, text, false);
}

int errorlog_report(void)
{
	uint64_t now_ms = clock_ms(CLOCK_MONOTONIC);
	int wait_ms = -1;

	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < output_n; i++) {
		for (unsigned event = 0; event < EVENTS; event++)
			report_kind(&outputs[i], (enum errorlog_event)event, now_ms,
				    &wait_ms);
		report_lost(&outputs[i]);
	}
	pthread_mutex_unlock(&lock);
	return wait_ms;
}

/* Before an output is replaced, or the process ends. */
static void report_all(struct output_state *s)
{
	for (unsigned event = 0; event < EVENTS; event++)
		if (s->kinds[event].suppressed > 0)
			write_suppressed(s, (enum errorlog_event)event);
	report_lost(s);
}

void errorlog_configure(const struct errorlog_output *next, unsigned n)
{
	ASSERT(n > 0 && n <= ERRORLOG_OUTPUTS_MAX);
	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < output_n; i++) {
		report_all(&outputs[i]);
		if (outputs[i].output.fd >= 0)
			close(outputs[i].output.fd);
	}
	output_n = n;
	for (unsigned i = 0; i < n; i++)
		outputs[i] = (struct output_state){ .output = next[i] };
	pthread_mutex_unlock(&lock);
}

void errorlog_started(void)
{
	pthread_mutex_lock(&lock);
	started = true;
	pthread_mutex_unlock(&lock);
}

void errorlog_end(void)
{
	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < output_n; i++)
		report_all(&outputs[i]);
	pthread_mutex_unlock(&lock);
}

uint64_t errorlog_lost(void)
{
	return atomic_load(&shared->lost);
}

bool errorlog_daemon_gone(void)
{
	bool gone = false;

	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < output_n; i++)
		gone |= outputs[i].gone;
	pthread_mutex_unlock(&lock);
	return gone;
}

/* The kernel has disconnected a socket when a write found that its peer is gone. */
bool errorlog_reconnect_socket(int fd, const struct sockaddr *sa, socklen_t len)
{
	struct sockaddr_storage peer;
	socklen_t peer_len = sizeof(peer);

	return getpeername(fd, (struct sockaddr *)&peer, &peer_len) < 0 &&
	       errno == ENOTCONN && connect(fd, sa, len) == 0;
}

void errorlog_reconnect(void)
{
	char name[ERRORLOG_NAME_MAX] = "";

	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < output_n; i++) {
		const struct errorlog_output *o = &outputs[i].output;

		if (o->len == 0 ||
		    !errorlog_reconnect_socket(o->fd, (const struct sockaddr *)&o->sa,
					       o->len))
			continue;
		outputs[i].gone = false;
		strcpy(name, o->name);
	}
	pthread_mutex_unlock(&lock);
	if (name[0] != '\0')
		errorlog_put(EVENT_LOG_REOPENED,
			     "the daemon of the error log at %s is back", name);
}

/* ---- lines of a reader ------------------------------------------------------ */

struct line_stream {
	FILE *stream;
	enum errorlog_event event;
	size_t n; /* bytes of the line so far; what is longer than `line` is cut */
	char line[ERRORLOG_TEXT_MAX];
};

static struct line_stream lines;

static void stream_line_end(struct line_stream *l)
{
	bool warning;

	l->line[l->n] = '\0';
	l->n = 0;
	warning = l->event == EVENT_CONFIG_FAULT && strstr(l->line, ": warning: ");
	line_put(warning ? EVENT_CONFIG_WARNING : l->event, l->line, true);
}

static ssize_t stream_write(void *cookie, const char *bytes, size_t n)
{
	struct line_stream *l = cookie;

	for (size_t i = 0; i < n; i++)
		if (bytes[i] == '\n')
			stream_line_end(l);
		else if (l->n < sizeof(l->line) - 1)
			l->line[l->n++] = bytes[i];
	return (ssize_t)n;
}

FILE *errorlog_stream(enum errorlog_event event)
{
	lines.event = event;
	if (lines.stream)
		return lines.stream;
	lines.stream = fopencookie(&lines, "w",
				   (cookie_io_functions_t){ .write = stream_write });
	if (!lines.stream)
		return stderr;
	setvbuf(lines.stream, NULL, _IOLBF, BUFSIZ);
	return lines.stream;
}

#include "run/control.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "run/admin.h"
#include "run/handover.h"
#include "run/notice.h"
#include "run/worker.h"
#include "sandbox.h"

struct control {
	const struct run_options *options;
	struct tick tick;
	struct conn channel;      /* to the supervisor */
	bool channel_dead;
	struct task task;         /* reads the channel */
	struct workers shared;
	struct worker *workers;
	unsigned started_n, ended_n;
	bool has_admin;
	struct admin admin;
	bool draining, admin_stopping;
	struct timer overdue;     /* workers should have ended long since */
};

/* The control thread serves a page now and then: it needs few buffers. */
#define CONTROL_BUFFERS 64
#define CHANNEL_WINDOW 4096
/* Each does nothing but burn CPU, for a study. */
#define POOL_THREADS 2
/* What connections that were cut off at the end of a drain take to be gone, and more. */
#define OVERDUE_MS 3000

/* The worker that a control belongs to is found through its `shared`. */
static struct control *control_of(struct worker *w)
{
	return CONTAINER(w->shared, struct control, shared);
}

static bool all_started(const struct control *c)
{
	return c->started_n == c->options->workers;
}

static void drain_workers(struct control *c)
{
	for (unsigned i = 0; i < c->options->workers; i++)
		worker_drain(&c->workers[i]);
}

/* No client waits any more. A pipe that nobody reads would hold the log's last lines, and
 * with them the process, for ever. */
static void drain_overdue(struct timer *t)
{
	struct control *c = CONTAINER(t, struct control, overdue);

	fprintf(stderr, "fairlead: ended with work left%s\n",
		c->shared.log_fd >= 0 ? ": the access log did not take its last lines" : "");
	_exit(0);
}

/* A worker that has not started has no mailbox yet: worker_started() sees to it. */
static void drain_all(struct control *c)
{
	if (c->draining)
		return;
	c->draining = true;
	c->admin.draining = true;
	timer_set(&c->tick.wheel, &c->overdue,
		  c->tick.now_ms + c->options->config->limits.drain_timeout_ms + OVERDUE_MS);
	if (all_started(c))
		drain_workers(c);
}

static void say(struct control *c, char word)
{
	if (c->channel.state == CONN_OPEN && !c->channel.send_error)
		conn_push_small(&c->channel, (struct slice){ &word, 1 });
}

/* When all threads are there and all is opened, and before a client's first byte. */
static void close_sandbox(const struct run_options *o)
{
	const char *what;
	int error = o->config->sandbox ? sandbox_close(o, &what) : 0;

	if (error == 0)
		return;
	fprintf(stderr, "fairlead: cannot close the sandbox (%s): %s; use a kernel with "
			"CONFIG_SECCOMP_FILTER, or write 'sandbox: off'\n", what,
		strerror(-error));
	_exit(1);
}

static void worker_started(struct worker *w)
{
	struct control *c = control_of(w);

	if (w->error < 0) {
		fprintf(stderr, "fairlead: worker %u cannot start: %s\n", w->index,
			strerror(-w->error));
		_exit(1);
	}
	c->started_n++;
	if (!all_started(c))
		return;
	close_sandbox(c->options);
	for (unsigned i = 0; i < c->options->workers; i++)
		worker_begin(&c->workers[i]);
	if (c->draining)
		drain_workers(c);
	else
		say(c, CHANNEL_READY);
}

static void worker_ended(struct worker *w)
{
	control_of(w)->ended_n++;
}

/* ---- the channel ---------------------------------------------------------- */

static void channel_step(struct task *task)
{
	struct control *c = CONTAINER(task, struct control, task);

	while (c->channel.inbox) {
		struct slice s = conn_peek(&c->channel);

		if (memchr(s.ptr, CHANNEL_DRAIN, s.len))
			drain_all(c);
		conn_consume(&c->channel, (uint32_t)s.len);
	}
	/* The supervisor is gone: nobody would restart or stop us. */
	if (c->channel.eof || c->channel.error)
		drain_all(c);
}

static void channel_changed(struct conn *conn)
{
	struct control *c = CONTAINER(conn, struct control, channel);

	tick_run(&c->tick, &c->task);
}

static void channel_ended(struct conn *conn)
{
	CONTAINER(conn, struct control, channel)->channel_dead = true;
}

static const struct conn_events channel_events = {
	.changed = channel_changed,
	.dead = channel_ended,
};

/* ---- start ---------------------------------------------------------------- */

static bool is_file(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

static int receive_descriptors(struct control *c, int channel, int *admin_fd)
{
	for (;;) {
		struct handover h;
		struct worker *w;
		int error = handover_receive(channel, &h);

		if (error < 0)
			return error;
		switch (h.kind) {
		case HANDOVER_LISTENER:
			ASSERT(h.worker < c->options->workers);
			w = &c->workers[h.worker];
			ASSERT(w->listener_n < WORKER_LISTENERS_MAX);
			w->listener_fds[w->listener_n++] = h.fd;
			break;
		case HANDOVER_ADMIN:
			*admin_fd = h.fd;
			break;
		case HANDOVER_LOG:
			c->shared.log_fd = h.fd;
			c->shared.log_is_file = is_file(h.fd);
			break;
		case HANDOVER_END:
			return 0;
		}
	}
}

static bool needs_pool(const struct config *config)
{
	for (unsigned i = 0; i < config->route_n; i++)
		if (config->routes[i].action == CONFIG_CPU && config->routes[i].cpu.on_pool)
			return true;
	return false;
}

/* What the reserve holds beyond what loops and listeners need: idle connections of one worker
 * take a moment to give way to another's, and meanwhile nobody should wait for them. */
static uint32_t spare_of_reserve(const struct run_options *o)
{
	uint32_t used = SUPERVISOR_RESERVED_FDS / 4 + o->workers * (4 + o->config->listen_n);

	return used < SUPERVISOR_RESERVED_FDS ? SUPERVISOR_RESERVED_FDS - used : 0;
}

/* Half of the descriptors for clients, the rest for origins and links. */
static void divide_descriptors(struct workers *s, const struct run_options *o)
{
	uint32_t all = (uint32_t)(o->descriptors - SUPERVISOR_RESERVED_FDS);
	uint32_t clients = o->config->limits.connections;

	if (clients == 0)
		clients = all / 2;
	quota_init(&s->clients, clients);
	quota_init(&s->descriptors, (clients < all ? all - clients : 1) + spare_of_reserve(o));
}

static bool open_roster(struct control *c, unsigned i)
{
	const struct config_upstream *u = &c->options->config->upstreams[i];

	c->shared.rosters[i] = roster_new(u->name, c->options->workers, &c->tick.mailbox,
					  notice_changed);
	return c->shared.rosters[i] != NULL;
}

static int init_shared(struct control *c)
{
	struct workers *s = &c->shared;
	const struct config *config = c->options->config;

	s->options = c->options;
	s->control = &c->tick.mailbox;
	s->log_fd = -1;
	s->started = worker_started;
	s->ended = worker_ended;
	divide_descriptors(s, c->options);
	s->lines = calloc(config->upstream_n + 1, sizeof(s->lines[0]));
	s->rosters = calloc(config->upstream_n + 1, sizeof(s->rosters[0]));
	c->workers = calloc(c->options->workers, sizeof(c->workers[0]));
	if (!s->lines || !s->rosters || !c->workers)
		return -1;
	for (unsigned i = 0; i < config->upstream_n; i++)
		quota_init(&s->lines[i], config->upstreams[i].queue);
	for (unsigned i = 0; i < config->upstream_n; i++)
		if (!open_roster(c, i))
			return -1;
	s->all = c->workers;
	for (unsigned i = 0; i < c->options->workers; i++) {
		c->workers[i].index = i;
		c->workers[i].shared = s;
	}
	if (needs_pool(config))
		s->pool = pool_new(POOL_THREADS);
	return needs_pool(config) && !s->pool ? -1 : 0;
}

static int start(struct control *c, int channel)
{
	int admin_fd = -1;
	int error = tick_init(&c->tick, &(struct io_options){ .engine = c->options->engine,
							     .buffers = CONTROL_BUFFERS });

	if (error < 0 || init_shared(c) < 0 ||
	    receive_descriptors(c, channel, &admin_fd) < 0) {
		fprintf(stderr, "fairlead: the worker process cannot start: %s\n",
			error < 0 ? strerror(-error) : "out of memory or no supervisor");
		return -1;
	}
	tzset(); /* for log lines: reads a file, which the sandbox would not allow later */
	task_init(&c->task, channel_step);
	timer_init(&c->overdue, drain_overdue);
	conn_open(&c->channel, &c->tick, &channel_events, channel, CHANNEL_WINDOW);
	if (admin_fd >= 0) {
		c->has_admin = true;
		c->admin.tick = &c->tick;
		c->admin.shared = &c->shared;
		c->admin.workers = c->workers;
		c->admin.worker_n = c->options->workers;
		admin_start(&c->admin, admin_fd);
	}
	for (unsigned i = 0; i < c->options->workers; i++) {
		error = worker_start(&c->workers[i]);
		if (error < 0) {
			fprintf(stderr, "fairlead: cannot start a thread: %s\n", strerror(-error));
			return -1;
		}
	}
	return 0;
}

/* ---- the end -------------------------------------------------------------- */

/* Workers first; the admin address answers until they are done. */
static bool is_over(struct control *c)
{
	if (c->ended_n < c->options->workers)
		return false;
	if (!c->admin_stopping) {
		c->admin_stopping = true;
		if (c->has_admin)
			admin_stop(&c->admin);
		conn_close(&c->channel, CONN_NOW, 0);
	}
	return c->channel_dead && (!c->has_admin || admin_idle(&c->admin));
}

/* No job is left, but the pool may still be on its way out of waking the worker that it
 * gave the last one back to: its threads end before the loops do. */
static void finish(struct control *c)
{
	if (c->shared.pool)
		pool_free(c->shared.pool);
	for (unsigned i = 0; i < c->options->workers; i++)
		worker_done(&c->workers[i]);
	if (c->has_admin)
		admin_done(&c->admin);
	if (c->shared.log_fd >= 0)
		close(c->shared.log_fd);
	task_stop(&c->task);
	timer_stop(&c->tick.wheel, &c->overdue);
	tick_done(&c->tick);
	free(c->workers);
	free(c->shared.lines);
	for (unsigned i = 0; i < c->options->config->upstream_n; i++)
		roster_free(c->shared.rosters[i]);
	free(c->shared.rosters);
}

int control_run(const struct run_options *options, int channel)
{
	struct control *c = calloc(1, sizeof(*c));

	if (!c)
		return 1;
	c->options = options;
	sandbox_prepare();
	if (start(c, channel) < 0)
		return 1; /* the process ends, and with it whatever was started */
	while (!is_over(c))
		tick_once(&c->tick);
	finish(c);
	free(c);
	return 0;
}

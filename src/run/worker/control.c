#include "run/worker/control.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "admins.h"
#include "base/diagnostics.h"
#include "base/errorlog.h"
#include "base/pattern.h"
#include "expiry.h"
#include "listing.h"
#include "loops.h"
#include "losses.h"
#include "monitors.h"
#include "proxy/action.h"
#include "proxy/rule.h"
#include "pulse.h"
#include "reload.h"
#include "run/handover.h"
#include "run/remedy.h"
#include "run/worker/sandbox.h"
#include "run/worker/worker.h"
#include "series.h"
#include "setup.h"
#include "tls/warm.h"

struct control {
	const struct run_options *options;
	struct tick tick;
	struct conn channel; /* one-byte messages from and to the supervisor */
	int setup_channel;   /* setups that follow CHANNEL_LOAD */
	bool channel_dead;
	struct task task; /* reads the channel */
	struct workers shared;
	struct worker *workers;
	struct config_versions config_versions;
	struct phase_tables phases;
	struct reload reload;
	unsigned started_n, ended_n;
	struct monitors monitors;
	struct admins admins;
	int admin_fd;    /* of the configuration being reloaded; -1: none */
	bool admin_kept; /* that configuration keeps the current admin address */
	struct error_logs error_logs; /* of that configuration */
	bool drain_wanted, draining, graceful, admin_stopping;
	struct timer overdue; /* the workers have not ended in time */
	struct log_losses losses;
	struct pulse *pulse;
	struct expiry expiry;
	bool actions_opened, rules_opened;
};

#define CHANNEL_WINDOW 4096
/* Grace period after the drain timeout, for aborted connections to close. */
#define OVERDUE_MS 3000

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
		worker_drain(&c->workers[i], c->graceful);
}

/* All clients have been aborted by now. Lines of the access log may remain that its
 * reader does not take: the process must not wait for that forever. */
static void drain_overdue(struct timer *t)
{
	struct control *c = CONTAINER(t, struct control, overdue);

	errorlog_put(EVENT_DRAIN_OVERDUE, "ended before all work was done%s",
		     c->config_versions.current->config->log_n > 0
			     ? ": the last lines of the access log could not be written"
			     : "");
	_exit(0);
}

/* Workers that have not started have no mailbox yet: worker_started() drains them
 * later. */
static void start_drain(struct control *c)
{
	const struct config_limits *l = &c->config_versions.current->config->limits;

	/* During a reload, workers that ended would not reply: reload_done() starts the
	 * drain. */
	c->drain_wanted = true;
	if (c->draining || c->reload.state != RELOAD_IDLE)
		return;
	c->draining = true;
	admins_drain(&c->admins);
	timer_set(&c->tick.wheel, &c->overdue,
		  c->tick.now_ms + OVERDUE_MS +
			  (c->graceful ? l->upgrade_timeout_ms : l->drain_timeout_ms));
	if (all_started(c))
		drain_workers(c);
}

/* Drains within limits.drain_timeout; a graceful drain in progress is shortened to
 * that. */
static void shut_down(struct control *c)
{
	uint32_t ms = c->config_versions.current->config->limits.drain_timeout_ms;

	if (!c->draining || !c->graceful) {
		c->graceful = false;
		start_drain(c);
		return;
	}
	c->graceful = false;
	if (timer_armed(&c->overdue))
		timer_set(&c->tick.wheel, &c->overdue, c->tick.now_ms + OVERDUE_MS + ms);
	for (unsigned i = 0; i < c->options->workers; i++)
		worker_shorten_drain(&c->workers[i]);
}

static void channel_send(struct control *c, char message)
{
	if (c->channel.state == CONN_OPEN && !c->channel.send_error)
		conn_push_small(&c->channel, (struct slice){ &message, 1 });
}

/* Called when all threads have opened everything, before a client is accepted. */
static void close_sandbox(const struct control *c)
{
	const struct config *config = c->config_versions.current->config;
	const char *what;
	int error;

	if (!config->sandbox)
		return;
	/* The text of a reload may have another `sandbox`, which needs a restart. */
	pattern_forbid_machine_code();
	error = sandbox_close(c->shared.engine, config, c->setup_channel, &what);
	if (error == 0)
		return;
	errorlog_put(
		EVENT_START_FAILED,
		"cannot close the sandbox (%s): %s; %s, or write "
		"'sandbox: off'",
		what, strerror(-error),
		error == -EPERM || error == -ENOSYS
			? "allow the system call seccomp in the filter that fairlead runs under"
			: "use a kernel with CONFIG_SECCOMP_FILTER");
	_exit(1);
}

static void worker_started(struct worker *w)
{
	struct control *c = control_of(w);

	if (w->error < 0) {
		errorlog_put(EVENT_START_FAILED, "worker %u cannot start: %s; %s",
			     w->index, strerror(-w->error), remedy_of(w->error));
		_exit(1);
	}
	c->started_n++;
	if (!all_started(c))
		return;
	diagnostics_wait_budget(0);
	close_sandbox(c);
	errorlog_started();
	for (unsigned i = 0; i < c->options->workers; i++)
		worker_begin(&c->workers[i]);
	monitors_change(&c->monitors);
	if (c->draining)
		drain_workers(c);
	else
		channel_send(c, c->shared.engine == IO_ENGINE_RING ? CHANNEL_READY_RING
								   : CHANNEL_READY_EPOLL);
}

static void worker_ended(struct worker *w)
{
	control_of(w)->ended_n++;
}

/* ---- reload --------------------------------------------------------------- */

static void reload_done(struct reload *r, bool adopted)
{
	struct control *c = CONTAINER(r, struct control, reload);

	if (adopted) {
		monitors_change(&c->monitors);
		quota_set_limit(&c->shared.handshakes,
				c->config_versions.current->config->limits.handshakes);
	}
	if (adopted && !c->admin_kept)
		admins_close(&c->admins);
	if (adopted && c->admin_fd >= 0)
		admins_open(&c->admins, c->admin_fd);
	else if (c->admin_fd >= 0)
		close(c->admin_fd);
	c->admin_fd = -1;
	if (adopted)
		error_logs_adopt(&c->error_logs, c->config_versions.current->config);
	else
		error_logs_close(&c->error_logs);
	channel_send(c, adopted ? CHANNEL_ADOPTED : CHANNEL_REFUSED);
	if (c->drain_wanted)
		start_drain(c);
}

static void worker_config_prepared(struct worker_config *wc)
{
	reload_prepared(&control_of(wc->worker)->reload, wc);
}

static void worker_config_settled(struct worker_config *wc)
{
	reload_settled(&control_of(wc->worker)->reload, wc);
}

/* Messages between workers about an upstream are in memory of the configuration version,
 * so it is freed only after they have been delivered. A worker that has ended does not
 * report; then the versions are freed at the end of the process. */
static void worker_config_released(struct worker_config *wc)
{
	struct config_version *version = wc->config_version;

	if (++version->released_n < version->worker_n)
		return;
	for (unsigned w = 0; w < version->worker_n; w++)
		worker_flush(&version->worker_configs[w]);
}

static void worker_config_flushed(struct worker_config *wc)
{
	wc->config_version->flushed_n++;
	monitors_sweep(&control_of(wc->worker)->monitors);
}

/* A new configuration is refused while workers start or drain: they could not reply. */
static void take_config(struct control *c)
{
	struct setup setup;

	/* If it fails, the supervisor has ended or closed the channel, and ignores the
	 * reply. */
	(void)setup_receive(&setup, &c->config_versions, c->setup_channel, NULL);
	if (setup.config_version && (c->draining || !all_started(c))) {
		config_version_free(setup.config_version);
		setup.config_version = NULL;
	}
	c->admin_kept = setup.admin_kept;
	c->admin_fd = setup.admin_fd;
	c->error_logs = setup.error_logs;
	if (setup.config_version)
		reload_start(&c->reload, setup.config_version);
	else
		reload_done(&c->reload, false);
}

/* ---- the channel ---------------------------------------------------------- */

/* Workers that have not started have no mailbox yet; those that drain do not accept. */
static void rearm(struct control *c)
{
	if (!all_started(c) || c->draining)
		return;
	for (unsigned i = 0; i < c->options->workers; i++)
		worker_rearm(&c->workers[i]);
	admins_rearm(&c->admins);
}

static void take_channel_message(struct control *c, char message)
{
	switch (message) {
	case CHANNEL_DRAIN:
		shut_down(c);
		break;
	case CHANNEL_DRAIN_GRACEFULLY:
		c->graceful = true;
		admins_close(&c->admins);
		start_drain(c);
		break;
	case CHANNEL_LOAD:
		take_config(c);
		break;
	case CHANNEL_REARM:
		rearm(c);
		break;
	}
}

static void channel_step(struct task *task)
{
	struct control *c = CONTAINER(task, struct control, task);

	while (c->channel.inbox) {
		struct slice s = conn_peek(&c->channel);

		for (size_t i = 0; i < s.len; i++)
			take_channel_message(c, s.ptr[i]);
		conn_consume(&c->channel, (uint32_t)s.len);
	}
	/* The supervisor has ended: end as well. */
	if (c->channel.eof || c->channel.error)
		shut_down(c);
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

/* Workers that drain end; what takes too long then is drain_overdue()'s. */
static void check_pulse(struct control *c)
{
	bool all_run = c->draining || pulse_check(c->pulse, c->tick.now_ms);

	if (all_run && c->options->watchdog_ms > 0)
		channel_send(c, CHANNEL_ALIVE);
}

static void control_trim(struct tick *t)
{
	struct control *c = CONTAINER(t, struct control, tick);

	admins_sweep(&c->admins);
	monitors_sweep(&c->monitors);
	losses_check(&c->losses, c->tick.now_ms);
	if (losses_daemon_gone(&c->losses) || errorlog_daemon_gone())
		channel_send(c, CHANNEL_LOG_GONE);
	if (all_started(c))
		check_pulse(c);
	if (all_started(c))
		expiry_check(&c->expiry, c->config_versions.current, c->tick.now_ms,
			     c->tick.wall_ms);
	diagnostics_report();
	errorlog_report();
}

/* The part of the reserved descriptors that loops and listeners do not need. Origins may
 * use it: to close an idle connection of another worker takes a moment, and this bridges
 * it. */
static uint32_t unused_reserve(const struct run_options *o, unsigned listen_n)
{
	uint32_t used = RUN_RESERVED_FDS / 4 + o->workers * (5 + listen_n);

	return used < RUN_RESERVED_FDS ? RUN_RESERVED_FDS - used : 0;
}

/* Half of the descriptors for clients, the rest for origins and links. */
static void divide_descriptors(struct workers *s, const struct run_options *o,
			       const struct config *config)
{
	uint32_t all = (uint32_t)(o->descriptors - RUN_RESERVED_FDS);
	uint32_t clients = config->limits.connections;

	if (clients == 0)
		clients = all / 2;
	quota_init(&s->clients, clients);
	quota_init(&s->descriptors, (clients < all ? all - clients : 1) +
					    unused_reserve(o, config->listen_n));
}

static bool open_limits(struct limits *l)
{
	uint8_t key[SIPHASH_KEY_BYTES];

	return getrandom(key, sizeof(key), 0) == sizeof(key) &&
	       limits_init(l, LIMIT_WORDS, key);
}

static int init_shared(struct control *c)
{
	struct workers *s = &c->shared;
	const struct config *config = c->config_versions.current->config;

	s->options = c->options;
	s->config_versions = &c->config_versions;
	s->control = &c->tick.mailbox;
	list_init(&s->listings);
	s->started = worker_started;
	s->ended = worker_ended;
	s->prepared = worker_config_prepared;
	s->settled = worker_config_settled;
	s->released = worker_config_released;
	s->flushed = worker_config_flushed;
	divide_descriptors(s, c->options, config);
	quota_init(&s->handshakes, config->limits.handshakes);
	c->workers = calloc(c->options->workers, sizeof(c->workers[0]));
	if (!c->workers || !open_limits(&s->limits))
		return -1;
	c->pulse = pulse_new(c->workers, c->options->workers);
	if (!c->pulse)
		return -1;
	s->all = c->workers;
	for (unsigned i = 0; i < c->options->workers; i++) {
		struct worker_config *first_config =
			&c->config_versions.current->worker_configs[i];

		c->workers[i].index = i;
		c->workers[i].shared = s;
		c->workers[i].first_config = first_config;
		first_config->worker = &c->workers[i];
	}
	c->reload = (struct reload){ .config_versions = &c->config_versions,
				     .workers = c->workers,
				     .done = reload_done };
	c->losses = (struct log_losses){ .workers = c->workers,
					 .worker_n = c->options->workers };
	/* A later reload may add a route that needs it. */
	c->actions_opened = config->study && actions_open();
	c->rules_opened = config_has_threads(config) && rules_open(false);
	return (config->study && !c->actions_opened) ||
			       (config_has_threads(config) && !c->rules_opened)
		       ? -1
		       : 0;
}

/* While the workers start. A later reload that is the first one with TLS starts a new worker
 * process (run/supervisor/change.c), so a start without TLS does not pay for it. */
static void warm_tls(const struct config *config)
{
	char error[256];

	if (config->sandbox && config_uses_tls(config) && !tls_warm(error, sizeof(error)))
		errorlog_put(EVENT_SANDBOX_RISK,
			     "%s; TLS may end the worker process, write "
			     "'sandbox: off' if you need it",
			     error);
}

static int control_start(struct control *c, int channel, struct config *config)
{
	struct setup setup = { .admin_fd = -1, .error_logs = ERROR_LOGS_NONE };
	int error = setup_receive(&setup, &c->config_versions, c->setup_channel, config);

	c->config_versions.current = setup.config_version;
	if (error < 0 || !setup.config_version || init_shared(c) < 0) {
		errorlog_put(EVENT_START_FAILED, "the worker process cannot start: %s",
			     error < 0 ? strerror(-error) : "out of memory");
		return -1;
	}
	if (loops_open(&c->tick, &c->shared) < 0 ||
	    loops_use_tls(&c->tick, setup.config_version->config, NULL) < 0)
		return -1;
	access_name_host();
	tzset(); /* for log lines: reads a file, which the sandbox forbids later */
	task_init(&c->task, channel_step);
	timer_init(&c->overdue, drain_overdue);
	conn_open(&c->channel, &c->tick, &channel_events, channel, CHANNEL_WINDOW);
	c->tick.trim_owner = control_trim;
	if (setup.admin_fd >= 0)
		admins_open(&c->admins, setup.admin_fd);
	c->monitors = (struct monitors){
		.tick = &c->tick,
		.config_versions = &c->config_versions,
		.descriptors = &c->shared.descriptors,
		.workers = c->workers,
		.worker_n = c->options->workers,
	};
	error = monitors_open(&c->monitors);
	if (error < 0) {
		errorlog_put(EVENT_START_FAILED,
			     "cannot start the thread that resolves names: %s; "
			     "%s",
			     strerror(-error), remedy_of(error));
		return -1;
	}
	loops_release(&c->shared);
	warm_tls(setup.config_version->config);
	return 0;
}

/* ---- the end -------------------------------------------------------------- */

/* The workers end first; the admin address responds until they have ended. */
static bool control_ended(struct control *c)
{
	if (c->ended_n < c->options->workers)
		return false;
	if (!c->admin_stopping) {
		c->admin_stopping = true;
		admins_close(&c->admins);
		monitors_stop(&c->monitors);
		conn_close(&c->channel, CONN_NOW, 0);
	}
	return admins_sweep(&c->admins) && c->channel_dead;
}

/* Actions and rules first: no work is left, but a thread of theirs may still be in the call that
 * wakes a worker's loop. */
static void control_done(struct control *c)
{
	losses_report(&c->losses, c->tick.now_ms);
	errorlog_end();
	if (c->actions_opened)
		actions_close();
	if (c->rules_opened)
		rules_close();
	for (unsigned i = 0; i < c->options->workers; i++)
		worker_done(&c->workers[i]);
	listings_discard(&c->shared);
	/* Versions are freed below, not by the remaining ticks. */
	c->tick.trim_owner = NULL;
	monitors_done(&c->monitors);
	expiry_done(&c->expiry);
	config_versions_done(&c->config_versions);
	task_stop(&c->task);
	timer_stop(&c->tick.wheel, &c->overdue);
	tick_done(&c->tick);
	close(c->setup_channel);
	free(c->pulse);
	limits_done(&c->shared.limits);
	series_done(&c->phases);
	free(c->workers);
}

int control_run(const struct run_options *options, struct config *config, int channel,
		int setup_channel)
{
	struct control *c = calloc(1, sizeof(*c));

	if (!c)
		return 1;
	c->options = options;
	c->setup_channel = setup_channel;
	c->admin_fd = -1;
	c->error_logs = (struct error_logs)ERROR_LOGS_NONE;
	expiry_init(&c->expiry);
	admins_init(&c->admins, &c->tick, &c->shared);
	if (!series_init(&c->phases, options->workers, config->limits.metric_series))
		return 1;
	config_versions_init(&c->config_versions, options->workers, &c->tick.mailbox, &c->phases);
	sandbox_prepare();
	if (control_start(c, channel, config) < 0)
		return 1; /* the process ends, with all threads */
	while (!control_ended(c))
		tick_once(&c->tick);
	control_done(c);
	free(c);
	return 0;
}

#include "loops.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/errorlog.h"
#include "base/reserve.h"
#include "config/tls.h"
#include "run/cpus.h"
#include "run/remedy.h"

/* Of the control thread, which serves the admin address only. */
#define CONTROL_BUFFERS 64

static int start_threads(struct workers *s)
{
	int error = 0;

	for (unsigned i = 0; i < s->options->workers && error == 0; i++)
		error = worker_start(&s->all[i]);
	if (error < 0)
		errorlog_put(EVENT_START_FAILED, "cannot start a thread: %s; %s",
			     strerror(-error), remedy_of(error));
	return error;
}

/* Waits until all threads have tried. Returns the first error, or 0. */
static int open_all(struct tick *control, struct workers *s)
{
	int own = tick_init(control, &(struct io_options){ .engine = s->engine,
							   .buffers = CONTROL_BUFFERS });
	int error = own;

	for (unsigned i = 0; i < s->options->workers; i++) {
		sem_wait(&s->all[i].opened);
		error = error < 0 ? error : s->all[i].error;
	}
	if (error < 0 && own == 0)
		tick_done(control);
	return error;
}

void loops_release(struct workers *s)
{
	for (unsigned i = 0; i < s->options->workers; i++)
		sem_post(&s->all[i].engine_chosen);
}

/* Rings count as locked memory of the user, so one of them may be refused
 * (kernel-notes/31-rings-are-locked-memory). */
int loops_open(struct tick *control, struct workers *s)
{
	enum io_engine_kind wanted = s->options->engine;
	char why[640];
	int error;

	s->engine = wanted == IO_ENGINE_EPOLL ? IO_ENGINE_EPOLL : IO_ENGINE_RING;
	error = start_threads(s);
	if (error < 0)
		return error;
	error = open_all(control, s);
	if (error < 0)
		io_explain(s->engine, error, s->options->workers + 1, why, sizeof(why));
	if (error < 0 && wanted == IO_ENGINE_AUTO) {
		/* `engine: auto`: the operator learns which engine was chosen and why. */
		errorlog_put(EVENT_ENGINE_FALLBACK, "falling back to epoll: %s", why);
		s->engine = IO_ENGINE_EPOLL;
		loops_release(s);
		error = open_all(control, s);
		snprintf(why, sizeof(why), "%s; %s", strerror(error < 0 ? -error : 0),
			 remedy_of(error));
	}
	if (error < 0)
		errorlog_put(EVENT_START_FAILED, "engine %s: %s",
			     io_engine_name(s->engine), why);
	return error;
}

/* ---- a worker --------------------------------------------------------------- */

static uint32_t buffers_of(const struct worker *w)
{
	uint64_t bytes = w->first_config->config_version->config->limits.buffers;
	uint64_t n = bytes / BUF_BYTES / w->shared->options->workers;

	return n < 64 ? 64 : n > 65535 ? 65535 : (uint32_t)n;
}

/* Before its memory is allocated, so that this is near that CPU. */
static void worker_pin(const struct worker *w)
{
	int cpu = cpus_of_worker(w->index), error = cpu < 0 ? -ENOSYS : cpus_pin(cpu);

	if (error < 0)
		errorlog_put(EVENT_NO_EFFECT,
			     "worker %u cannot stay on one CPU: %s; continuing without "
			     "'cpu_affinity'",
			     w->index, strerror(-error));
}

/* A second time if loops_open() has chosen another engine meanwhile. */
void loops_join(struct worker *w)
{
	struct io_options options = { .buffers = buffers_of(w), .writes = true };

	if (w->shared->options->affinity != CONFIG_AFFINITY_OFF)
		worker_pin(w);
	w->error = reserve_init(RESERVE_CHUNKS_MAX);
	while (options.engine != w->shared->engine) {
		options.engine = w->shared->engine;
		if (w->error == 0)
			w->error = tick_init(&w->tick, &options);
		sem_post(&w->opened);
		sem_wait(&w->engine_chosen);
		if (options.engine == w->shared->engine)
			continue;
		if (w->error == 0)
			tick_done(&w->tick);
		w->error = 0;
	}
}

int loops_use_tls(struct tick *t, const struct config *config, struct quota *handshakes)
{
	if (!config_uses_tls(config))
		return 0;
	return tick_use_tls(t, handshakes, config->limits.handshake_steps) ? 0 : -ENOMEM;
}

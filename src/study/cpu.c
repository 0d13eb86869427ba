/* The action `cpu`: uses CPU time, on the worker's thread or on a pool of threads beside it. */
#include "study/study.h"

#include <stdio.h>

#include "config/action.h"
#include "pool.h"
#include "route/variable.h"

#define POOL_THREADS 2

/* ---- configuration ---------------------------------------------------------- */

static const struct key cpu_keys[] = {
	KEY_ROW(struct config_cpu, ms, COUNT, ms, "50", 1, 10000, NULL, ANY,
		"CPU time in milliseconds; the query parameter ms of a request overrides it"),
	KEY_ROW(struct config_cpu, ms_max, COUNT, ms_max, "10000", 1, 10000, NULL, ANY,
		"upper limit of the query parameter ms, in milliseconds"),
	KEY_ROW(struct config_cpu, on, WORD, on_pool, "worker", 0, 0, "worker|pool", ANY,
		"worker: runs on the worker thread; pool: runs on a thread pool"),
};

static const struct section cpu_section = { "routes[].cpu.", cpu_keys, COUNT(cpu_keys) };
static const struct section *const cpu_sections[] = { &cpu_section, NULL };

static void cpu_read(struct config_reader *r, const struct node *n,
		     struct config_route *route)
{
	struct config_cpu *c = arena_alloc(reader_memory(r), sizeof(*c));
	struct section_values values;

	route->options = c;
	if (section_read(r, n, &cpu_section, c, &values) && c->ms > c->ms_max)
		report_error(reader_report(r), node_pos(n),
			     "'ms' is greater than 'ms_max'; write 'ms_max: %u'", c->ms);
}

static void cpu_print(FILE *out, const struct config *c, const struct config_route *route)
{
	(void)c;
	print_indent(out, ACTION_DEPTH);
	fputs("cpu:\n", out);
	print_section(out, &cpu_section, route->options, ACTION_DEPTH + 1, PROTOCOL_ANY);
}

/* ---- the pool --------------------------------------------------------------- */

/* Of the process: made before its workers are, which read the pointer only. */
static struct pool *pool;

static bool cpu_open(void)
{
	pool = pool_new(POOL_THREADS);
	return pool != NULL;
}

static void cpu_close(void)
{
	pool_free(pool);
	pool = NULL;
}

/* ---- requests --------------------------------------------------------------- */

static void reply_rounds(struct exchange *x, const char *where, uint32_t ms, uint64_t rounds)
{
	char text[128];
	int n = snprintf(text, sizeof(text), "%u ms of CPU on the %s: %llu rounds\n", ms, where,
			 (unsigned long long)rounds);

	exchange_reply(x, SLICE("text/plain"), (struct slice){ text, (size_t)n });
}

/* The exchange waits for its job, or has ended: then the job is freed here. */
static void job_finished(struct job *j)
{
	struct exchange *x = j->owner;

	if (!x) {
		slab_put(j->slab, j);
		return;
	}
	j->returned = true;
	tick_run(x->proxy->tick, &x->task);
}

static void cpu_drop(struct exchange *x)
{
	struct job *j = x->work;

	j->owner = NULL;
	if (j->returned)
		slab_put(j->slab, j);
}

static void cpu_step(struct exchange *x)
{
	struct job *j = x->work;

	ASSERT(j->owner == x);
	if (j->returned)
		reply_rounds(x, "pool", j->ms, j->rounds);
}

/* The value of "?ms=" if it is a number, at most ms_max; else the configured time. */
static uint32_t wanted_ms(const struct config_cpu *cpu, const struct request_view *view)
{
	char scratch[16];
	struct slice value;
	uint32_t ms = 0;

	if (!variable_value(VARIABLE_QUERY, SLICE("ms"), view, scratch, sizeof(scratch),
			    &value) ||
	    value.len == 0 || value.len > 6)
		return cpu->ms;
	for (size_t i = 0; i < value.len; i++) {
		if (value.ptr[i] < '0' || value.ptr[i] > '9')
			return cpu->ms;
		ms = ms * 10 + (uint32_t)(value.ptr[i] - '0');
	}
	return ms < cpu->ms_max ? ms : cpu->ms_max;
}

static void cpu_start(struct exchange *x, const struct request_view *view)
{
	const struct config_cpu *cpu = view->route->options;
	uint32_t ms = wanted_ms(cpu, view);
	struct job *j;

	if (!cpu->on_pool) {
		reply_rounds(x, "worker", ms, pool_burn(ms));
		return;
	}
	j = action_begin_work(x);
	if (!j)
		return;
	j->slab = action_works(x->proxy, &action_cpu);
	j->owner = x;
	j->ms = ms;
	j->reply_to = &x->proxy->tick->mailbox;
	j->done = job_finished;
	pool_submit(pool, j);
}

const struct action action_cpu = {
	.config = {
		.key = NODE_ROW(cpu, "{ ms: N, on: … }", "one action",
				"action, `study` only: uses CPU time"),
		.study = true,
		.sections = cpu_sections,
		.read = cpu_read,
		.print = cpu_print,
	},
	.start = cpu_start,
	.work_bytes = sizeof(struct job),
	.step = cpu_step,
	.drop = cpu_drop,
	.open = cpu_open,
	.close = cpu_close,
};

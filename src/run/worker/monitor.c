#include "run/worker/monitor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/errorlog.h"
#include "exposition.h"
#include "io/sock.h"

/* Most addresses in one line on standard error. */
#define LOG_ADDRESSES_MAX 8

struct monitor {
	struct monitor_options options;
	struct resolver *resolver; /* NULL: names are not resolved again */
	struct prober *prober;
	struct list messages; /* sent to a worker and not freed yet */
	bool stopped;
};

/* A result for one worker. It returns to the control thread when the worker has read
 * it. */
struct monitor_message {
	struct mail message;
	struct list node; /* in monitor->messages; used by the control thread only */
	struct monitor *monitor;
	struct worker *worker;
	unsigned upstream, server;
	bool probed; /* result of a health check of one address; else addresses of the name */
	bool up;     /* that result */
	bool accepted; /* by the worker */
	unsigned n;
	struct config_address addresses[];
};

static const struct config_server *server_at(const struct monitor *m, unsigned upstream,
					     unsigned server)
{
	return &m->options.config->upstreams[upstream].servers[server];
}

/* ---- to the workers ---------------------------------------------------------- */

static void monitor_message_free(struct monitor_message *msg)
{
	list_remove(&msg->node);
	free(msg);
}

static void monitor_message_returned(struct mail *mail)
{
	struct monitor_message *msg = CONTAINER(mail, struct monitor_message, message);
	struct monitor *m = msg->monitor;

	if (!msg->accepted && !m->stopped)
		resolver_notify_again(m->resolver, msg->upstream, msg->server);
	monitor_message_free(msg);
}

/* On the worker's thread. */
static void monitor_message_deliver(struct mail *mail)
{
	struct monitor_message *msg = CONTAINER(mail, struct monitor_message, message);
	const struct config *config = msg->monitor->options.config;
	struct proxy *p = &msg->worker->proxy;

	msg->accepted = true;
	if (msg->probed)
		proxy_probed(p, config, msg->upstream, msg->server, msg->addresses,
			     msg->up);
	else
		msg->accepted = proxy_resolved(p, config, msg->upstream, msg->server,
					       msg->addresses, msg->n);
	mail->deliver = monitor_message_returned;
	mailbox_post(msg->worker->shared->control, mail);
}

/* False: no memory for it. */
static bool monitor_post(struct monitor *m, struct worker *worker,
			 const struct monitor_message *what,
			 const struct config_address *addresses)
{
	size_t bytes = what->n * sizeof(addresses[0]);
	struct monitor_message *msg = malloc(sizeof(*msg) + bytes);

	if (!msg)
		return false;
	*msg = *what;
	memcpy(msg->addresses, addresses, bytes);
	msg->monitor = m;
	msg->worker = worker;
	msg->message.deliver = monitor_message_deliver;
	list_init(&msg->node);
	list_append(&m->messages, &msg->node);
	mailbox_post(&worker->tick.mailbox, &msg->message);
	return true;
}

static bool monitor_post_all(struct monitor *m, const struct monitor_message *what,
			     const struct config_address *addresses)
{
	bool good = true;

	for (unsigned i = 0; i < m->options.worker_n; i++)
		good &= monitor_post(m, &m->options.workers[i], what, addresses);
	return good;
}

/* ---- resolver ---------------------------------------------------------------- */

static void log_addresses(const struct monitor *m, const struct resolver_event *event)
{
	char text[LOG_ADDRESSES_MAX * (SOCK_TEXT_MAX + 2) + 32];
	size_t n = 0;

	for (unsigned i = 0; i < event->n && i < LOG_ADDRESSES_MAX; i++) {
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s",
				      i > 0 ? ", " : "");
		n += sock_text((const struct sockaddr *)&event->addresses[i].sa, text + n,
			       sizeof(text) - n);
	}
	if (event->n > LOG_ADDRESSES_MAX)
		snprintf(text + n, sizeof(text) - n, " and %u more",
			 event->n - LOG_ADDRESSES_MAX);
	errorlog_put(EVENT_NAME_RESOLVED, "upstream %s: %s is now %s",
		     m->options.config->upstreams[event->upstream].name,
		     server_at(m, event->upstream, event->server)->address, text);
}

static void log_failure(const struct monitor *m, const struct resolver_event *event)
{
	const char *upstream = m->options.config->upstreams[event->upstream].name;
	const char *server = server_at(m, event->upstream, event->server)->address;

	if (event->failure)
		errorlog_put(EVENT_NAME_UNRESOLVED,
			     "upstream %s: %s cannot be resolved (%s); its last "
			     "addresses stay in use",
			     upstream, server, event->failure);
	else
		errorlog_put(EVENT_NAME_RESOLVED, "upstream %s: %s can be resolved again",
			     upstream, server);
}

static void log_more(const struct monitor *m, const struct resolver_event *event)
{
	errorlog_put(EVENT_NAME_TOO_LARGE,
		     "upstream %s: %s has more than %d addresses; only the "
		     "first of them, in byte order, are used",
		     m->options.config->upstreams[event->upstream].name,
		     server_at(m, event->upstream, event->server)->address,
		     DNS_ADDRESSES_MAX);
}

static void name_resolved(void *owner, const struct resolver_event *event)
{
	struct monitor *m = owner;
	struct monitor_message what = { .upstream = event->upstream,
					.server = event->server,
					.n = event->n };

	if (event->failure || event->recovered)
		log_failure(m, event);
	if (event->truncated)
		log_more(m, event);
	if (!event->changed)
		return;
	log_addresses(m, event);
	if (!monitor_post_all(m, &what, event->addresses))
		resolver_notify_again(m->resolver, event->upstream, event->server);
	prober_resolved(m->prober, event->upstream, event->server, event->addresses,
			event->n);
}

static void query_nameserver(void *owner, struct resolver_query *a)
{
	struct monitor *m = owner;

	dns_thread_query(m->options.dns, a);
}

/* ---- prober ------------------------------------------------------------------ */

/* Nothing is logged for a server that is up at its first check. */
static void log_health(const struct monitor *m, const struct prober_event *event)
{
	const struct config_upstream *u = &m->options.config->upstreams[event->upstream];
	const char *name = u->servers[event->server].name;
	char address[SOCK_TEXT_MAX];

	if (event->first && event->up)
		return;
	sock_text((const struct sockaddr *)&event->address->sa, address, sizeof(address));
	errorlog_put(event->up ? EVENT_SERVER_UP : EVENT_SERVER_DOWN,
		     "upstream %s: server %s%s%s%s is %s%s%s%s", u->name, name,
		     strcmp(name, address) ? " (" : "",
		     strcmp(name, address) ? address : "",
		     strcmp(name, address) ? ")" : "", event->up ? "up" : "down",
		     event->why ? " (" : "", event->why ? event->why : "",
		     event->why ? ")" : "");
}

static bool server_probed(void *owner, const struct prober_event *event)
{
	struct monitor *m = owner;
	struct monitor_message what = { .upstream = event->upstream,
					.server = event->server,
					.n = 1,
					.probed = true,
					.up = event->up };

	log_health(m, event);
	return monitor_post_all(m, &what, event->address);
}

/* ---- start and stop ---------------------------------------------------------- */

static uint64_t seed(void)
{
	uint64_t number = 0;

	if (getrandom(&number, sizeof(number), 0) != sizeof(number))
		number = 1; /* then the jitter is the same in every process */
	return number;
}

struct monitor *monitor_new(const struct monitor_options *options)
{
	struct monitor *m = calloc(1, sizeof(*m));
	bool has_names = options->dns && !options->config->resolver.off;

	if (!m)
		return NULL;
	m->options = *options;
	list_init(&m->messages);
	m->prober = prober_new(&(struct prober_options){
		.tick = options->tick,
		.config = options->config,
		.descriptors = options->descriptors,
		.seed = seed(),
		.notify = server_probed,
		.owner = m,
	});
	if (has_names)
		m->resolver = resolver_new(&(struct resolver_options){
			.tick = options->tick,
			.config = options->config,
			.query = query_nameserver,
			.notify = name_resolved,
			.owner = m,
			.previous = options->previous ? options->previous->resolver
						      : NULL,
		});
	m->options.previous = NULL;
	if (m->prober && (m->resolver || !has_names) &&
	    (!has_names ||
	     dns_thread_set_servers(options->dns, options->config->resolver.servers)))
		return m;
	if (m->resolver) {
		resolver_stop(m->resolver);
		resolver_free(m->resolver);
	}
	if (m->prober) {
		prober_stop(m->prober); /* no probe has started */
		prober_free(m->prober);
	}
	free(m);
	return NULL;
}

void monitor_stop(struct monitor *m)
{
	m->stopped = true;
	prober_stop(m->prober);
	if (m->resolver)
		resolver_stop(m->resolver);
}

bool monitor_stopped(const struct monitor *m)
{
	return m->stopped;
}

void monitor_discard_messages(struct monitor *m)
{
	LIST_EACH(&m->messages, node)
		monitor_message_free(LIST_ITEM(node, struct monitor_message, node));
}

bool monitor_idle(const struct monitor *m)
{
	return m->stopped && list_empty(&m->messages) && prober_idle(m->prober) &&
	       (!m->resolver || resolver_idle(m->resolver));
}

void monitor_free(struct monitor *m)
{
	ASSERT(monitor_idle(m));
	prober_free(m->prober);
	if (m->resolver)
		resolver_free(m->resolver);
	free(m);
}

/* ---- metrics ----------------------------------------------------------------- */

enum metric_source { SOURCE_HEALTH, SOURCE_PROCESS, SOURCE_NAMES };

struct monitor_metric {
	enum metric_source source;
	const char *name, *kind, *help;
	double (*value)(const struct monitor *m,
			const void *stats); /* negative: no sample */
};

/* Writes the samples of one family from index `from` on, until `reserve` bytes are
 * left. */
struct sample_writer {
	const struct monitor *monitor;
	struct exposition *e;
	const struct monitor_metric *metric;
	unsigned from, at;
	size_t reserve;
	bool more;
};

static void put_sample(struct sample_writer *writer, unsigned upstream, unsigned server,
		       const struct sockaddr *address, const void *stats)
{
	const struct config_upstream *u =
		&writer->monitor->options.config->upstreams[upstream];
	double value;
	char text[SOCK_TEXT_MAX];

	if (writer->more || writer->at++ < writer->from)
		return;
	if (writer->e->end - writer->e->at < (ptrdiff_t)writer->reserve) {
		writer->more = true;
		writer->at--;
		return;
	}
	value = writer->metric->value(writer->monitor, stats);
	if (value < 0)
		return;
	exposition_sample(writer->e, "");
	exposition_label(writer->e, "upstream", u->name);
	exposition_label(writer->e, "server", u->servers[server].name);
	if (address) {
		sock_text(address, text, sizeof(text));
		exposition_label(writer->e, "address", text);
	}
	exposition_real(writer->e, value);
}

static void put_health_sample(void *owner, const struct prober_stats *s)
{
	put_sample(owner, s->upstream, s->server, s->address, s);
}

static void put_name_sample(void *owner, const struct resolver_stats *s)
{
	put_sample(owner, s->upstream, s->server, NULL, s);
}

#define HEALTH(name, expression)                                                \
	static double health_##name(const struct monitor *m, const void *stats) \
	{                                                                       \
		const struct prober_stats *s = stats;                           \
                                                                                \
		(void)m;                                                        \
		return expression;                                              \
	}

HEALTH(up, s->state == HEALTH_UNKNOWN ? -1 : s->state == HEALTH_UP)
HEALTH(probes, (double)s->probes)
HEALTH(failures, (double)s->failures)
HEALTH(seconds, s->last_ms / 1000.0)

#define NAME(name, expression)                                                \
	static double name_##name(const struct monitor *m, const void *stats) \
	{                                                                     \
		const struct resolver_stats *s = stats;                       \
                                                                              \
		(void)m;                                                      \
		return expression;                                            \
	}

NAME(addresses, s->addresses)
NAME(lookups, (double)s->lookups)
NAME(failures, (double)s->failures)
NAME(changes, (double)s->changes)
NAME(age, s->responded_ms == 0
		  ? -1
		  : (double)(m->options.tick->now_ms - s->responded_ms) / 1000.0)

static double probes_skipped(const struct monitor *m, const void *stats)
{
	(void)stats;
	return (double)prober_skipped(m->prober);
}

static const struct monitor_metric monitor_metrics[] = {
	{ SOURCE_HEALTH, "health_up", "gauge",
	  "1 if the health checks found the server up, 0 if down", health_up },
	{ SOURCE_HEALTH, "health_probes", "counter", "Health probes completed",
	  health_probes },
	{ SOURCE_HEALTH, "health_failures", "counter", "Health probes that failed",
	  health_failures },
	{ SOURCE_HEALTH, "health_seconds", "gauge", "Duration of the last health probe",
	  health_seconds },
	{ SOURCE_PROCESS, "health_probes_skipped", "counter",
	  "Health probes skipped: no descriptor, port or memory", probes_skipped },
	{ SOURCE_NAMES, "resolver_addresses", "gauge",
	  "Addresses that the name of a server resolves to", name_addresses },
	{ SOURCE_NAMES, "resolver_lookups", "counter", "Lookups of the name of a server",
	  name_lookups },
	{ SOURCE_NAMES, "resolver_failures", "counter",
	  "Lookups that failed: the last addresses stay in use", name_failures },
	{ SOURCE_NAMES, "resolver_changes", "counter",
	  "Times the addresses of a server's name changed", name_changes },
	{ SOURCE_NAMES, "resolver_age_seconds", "gauge",
	  "Time since the name of a server was last resolved", name_age },
};

bool monitor_family(const struct monitor *m, unsigned family, unsigned *from,
		    struct exposition *e, size_t reserve)
{
	const struct monitor_metric *f = &monitor_metrics[family];
	struct sample_writer writer = {
		.monitor = m, .e = e, .metric = f, .from = *from, .reserve = reserve
	};

	_Static_assert(COUNT(monitor_metrics) == MONITOR_FAMILIES, "MONITOR_FAMILIES");
	ASSERT(family < MONITOR_FAMILIES);
	if (*from == 0)
		exposition_family(e, "", f->name, f->kind, f->help);
	if (f->source == SOURCE_HEALTH) {
		prober_each(m->prober, put_health_sample, &writer);
	} else if (f->source == SOURCE_NAMES && m->resolver) {
		resolver_each(m->resolver, put_name_sample, &writer);
	} else if (f->source == SOURCE_PROCESS) {
		exposition_sample(e, "");
		exposition_real(e, f->value(m, NULL));
	}
	*from = writer.at;
	return writer.more;
}

#include "run/monitor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "exposition.h"
#include "io/sock.h"

/* In one line on standard error. */
#define LOG_ADDRESSES_MAX 8

struct monitor {
	struct monitor_options options;
	struct resolver *resolver; /* NULL: names are not resolved again */
	struct prober *prober;
	struct list words; /* on their way, or on their way back */
	bool stopped;
};

/* To one worker, and back. */
struct word {
	struct mail message;
	struct list node; /* in monitor->words: the control thread's */
	struct monitor *monitor;
	struct worker *worker;
	unsigned upstream, server;
	bool probed, up; /* probed: about one address; else what the name stands for */
	bool taken;
	unsigned n;
	struct config_address addresses[];
};

static const struct config_server *server_at(const struct monitor *l, unsigned upstream,
					     unsigned server)
{
	return &l->options.config->upstreams[upstream].servers[server];
}

/* ---- to the workers ---------------------------------------------------------- */

static void word_free(struct word *w)
{
	list_remove(&w->node);
	free(w);
}

static void returned(struct mail *m)
{
	struct word *w = CONTAINER(m, struct word, message);
	struct monitor *l = w->monitor;

	if (!w->taken && !l->stopped)
		resolver_notify_again(l->resolver, w->upstream, w->server);
	word_free(w);
}

/* On the worker. */
static void deliver(struct mail *m)
{
	struct word *w = CONTAINER(m, struct word, message);
	const struct config *config = w->monitor->options.config;
	struct proxy *p = &w->worker->proxy;

	w->taken = true;
	if (w->probed)
		proxy_probed(p, config, w->upstream, w->server, w->addresses, w->up);
	else
		w->taken = proxy_resolved(p, config, w->upstream, w->server, w->addresses,
					  w->n);
	m->deliver = returned;
	mailbox_post(w->worker->shared->control, m);
}

/* False: no memory for it. */
static bool post(struct monitor *l, struct worker *worker, const struct word *what,
		 const struct config_address *addresses)
{
	size_t bytes = what->n * sizeof(addresses[0]);
	struct word *w = malloc(sizeof(*w) + bytes);

	if (!w)
		return false;
	*w = *what;
	memcpy(w->addresses, addresses, bytes);
	w->monitor = l;
	w->worker = worker;
	w->message.deliver = deliver;
	list_init(&w->node);
	list_append(&l->words, &w->node);
	mailbox_post(&worker->tick.mailbox, &w->message);
	return true;
}

static bool post_all(struct monitor *l, const struct word *what,
		     const struct config_address *addresses)
{
	bool good = true;

	for (unsigned i = 0; i < l->options.worker_n; i++)
		good &= post(l, &l->options.workers[i], what, addresses);
	return good;
}

/* ---- what the resolver tells ------------------------------------------------- */

static void log_addresses(const struct monitor *l, const struct resolver_event *news)
{
	char text[LOG_ADDRESSES_MAX * (SOCK_TEXT_MAX + 2) + 32];
	size_t n = 0;

	for (unsigned i = 0; i < news->n && i < LOG_ADDRESSES_MAX; i++) {
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s",
				      i > 0 ? ", " : "");
		n += sock_text((const struct sockaddr *)&news->addresses[i].sa, text + n,
			       sizeof(text) - n);
	}
	if (news->n > LOG_ADDRESSES_MAX)
		snprintf(text + n, sizeof(text) - n, " and %u more",
			 news->n - LOG_ADDRESSES_MAX);
	fprintf(stderr, "fairlead: upstream %s: %s is now %s\n",
		l->options.config->upstreams[news->upstream].name,
		server_at(l, news->upstream, news->server)->address, text);
}

static void log_failure(const struct monitor *l, const struct resolver_event *news)
{
	const char *upstream = l->options.config->upstreams[news->upstream].name;
	const char *server = server_at(l, news->upstream, news->server)->address;

	if (news->failure)
		fprintf(stderr,
			"fairlead: upstream %s: %s cannot be resolved (%s); its last "
			"addresses stay in use\n",
			upstream, server, news->failure);
	else
		fprintf(stderr, "fairlead: upstream %s: %s can be resolved again\n",
			upstream, server);
}

static void log_more(const struct monitor *l, const struct resolver_event *news)
{
	fprintf(stderr,
		"fairlead: upstream %s: %s has more than %u addresses; the first of "
		"them, in the order of their bytes, are used\n",
		l->options.config->upstreams[news->upstream].name,
		server_at(l, news->upstream, news->server)->address, DNS_ADDRESSES_MAX);
}

static void resolved(void *owner, const struct resolver_event *news)
{
	struct monitor *l = owner;
	struct word what = { .upstream = news->upstream,
			     .server = news->server,
			     .n = news->n };

	if (news->failure || news->recovered)
		log_failure(l, news);
	if (news->more)
		log_more(l, news);
	if (!news->changed)
		return;
	log_addresses(l, news);
	if (!post_all(l, &what, news->addresses))
		resolver_notify_again(l->resolver, news->upstream, news->server);
	prober_resolved(l->prober, news->upstream, news->server, news->addresses,
			news->n);
}

static void ask(void *owner, struct resolver_query *a)
{
	struct monitor *l = owner;

	dns_thread_query(l->options.dns, a);
}

/* ---- what the prober tells --------------------------------------------------- */

/* That servers are up when they are first asked is no news. */
static void log_health(const struct monitor *l, const struct prober_event *news)
{
	const struct config_upstream *u = &l->options.config->upstreams[news->upstream];
	const char *name = u->servers[news->server].name;
	char address[SOCK_TEXT_MAX];

	if (news->first && news->up)
		return;
	sock_text((const struct sockaddr *)&news->address->sa, address, sizeof(address));
	fprintf(stderr, "fairlead: upstream %s: server %s%s%s%s is %s%s%s%s\n", u->name,
		name, strcmp(name, address) ? " (" : "",
		strcmp(name, address) ? address : "", strcmp(name, address) ? ")" : "",
		news->up ? "up" : "down", news->why ? " (" : "",
		news->why ? news->why : "", news->why ? ")" : "");
}

static bool probed(void *owner, const struct prober_event *news)
{
	struct monitor *l = owner;
	struct word what = { .upstream = news->upstream,
			     .server = news->server,
			     .n = 1,
			     .probed = true,
			     .up = news->up };

	log_health(l, news);
	return post_all(l, &what, news->address);
}

/* ---- life and death ---------------------------------------------------------- */

static uint64_t seed(void)
{
	uint64_t number = 0;

	if (getrandom(&number, sizeof(number), 0) != sizeof(number))
		number = 1; /* then jitter is the same as elsewhere */
	return number;
}

struct monitor *monitor_new(const struct monitor_options *options)
{
	struct monitor *l = calloc(1, sizeof(*l));
	bool has_names = options->dns && !options->config->resolver.off;

	if (!l)
		return NULL;
	l->options = *options;
	list_init(&l->words);
	l->prober = prober_new(&(struct prober_options){
		.tick = options->tick,
		.config = options->config,
		.descriptors = options->descriptors,
		.seed = seed(),
		.notify = probed,
		.owner = l,
	});
	if (has_names)
		l->resolver = resolver_new(&(struct resolver_options){
			.tick = options->tick,
			.config = options->config,
			.query = ask,
			.notify = resolved,
			.owner = l,
			.previous = options->before ? options->before->resolver : NULL,
		});
	l->options.before = NULL;
	if (l->prober && (l->resolver || !has_names) &&
	    (!has_names ||
	     dns_thread_set_servers(options->dns, options->config->resolver.servers)))
		return l;
	if (l->resolver) {
		resolver_stop(l->resolver);
		resolver_free(l->resolver);
	}
	if (l->prober) {
		prober_stop(l->prober); /* nothing was asked yet */
		prober_free(l->prober);
	}
	free(l);
	return NULL;
}

void monitor_stop(struct monitor *l)
{
	l->stopped = true;
	prober_stop(l->prober);
	if (l->resolver)
		resolver_stop(l->resolver);
}

bool monitor_stopped(const struct monitor *l)
{
	return l->stopped;
}

void monitor_recall(struct monitor *l)
{
	LIST_EACH(&l->words, node)
		word_free(LIST_ITEM(node, struct word, node));
}

bool monitor_idle(const struct monitor *l)
{
	return l->stopped && list_empty(&l->words) && prober_idle(l->prober) &&
	       (!l->resolver || resolver_idle(l->resolver));
}

void monitor_free(struct monitor *l)
{
	ASSERT(monitor_idle(l));
	prober_free(l->prober);
	if (l->resolver)
		resolver_free(l->resolver);
	free(l);
}

/* ---- metrics ----------------------------------------------------------------- */

enum of { OF_HEALTH, OF_PROCESS, OF_NAMES };

struct samples {
	enum of of;
	const char *name, *kind, *help;
	double (*value)(const struct monitor *l,
			const void *row); /* negative: there is none */
};

/* The rows of a family that are written now: from the one where it goes on, as far as there is
 * room. */
struct portion {
	const struct monitor *monitor;
	struct exposition *e;
	const struct samples *samples;
	unsigned from, at;
	size_t reserve;
	bool more;
};

static void put_row(struct portion *p, unsigned upstream, unsigned server,
		    const struct sockaddr *address, const void *row)
{
	const struct config_upstream *u =
		&p->monitor->options.config->upstreams[upstream];
	double value;
	char text[SOCK_TEXT_MAX];

	if (p->more || p->at++ < p->from)
		return;
	if (p->e->end - p->e->at < (ptrdiff_t)p->reserve) {
		p->more = true;
		p->at--;
		return;
	}
	value = p->samples->value(p->monitor, row);
	if (value < 0)
		return;
	exposition_sample(p->e, "");
	exposition_label(p->e, "upstream", u->name);
	exposition_label(p->e, "server", u->servers[server].name);
	if (address) {
		sock_text(address, text, sizeof(text));
		exposition_label(p->e, "address", text);
	}
	exposition_real(p->e, value);
}

static void put_health(void *owner, const struct prober_stats *row)
{
	put_row(owner, row->upstream, row->server, row->address, row);
}

static void put_name(void *owner, const struct resolver_stats *row)
{
	put_row(owner, row->upstream, row->server, NULL, row);
}

#define HEALTH(name, expression)                                             \
	static double health_##name(const struct monitor *l, const void *of) \
	{                                                                    \
		const struct prober_stats *row = of;                         \
                                                                             \
		(void)l;                                                     \
		return expression;                                           \
	}

HEALTH(up, row->state == HEALTH_UNKNOWN ? -1 : row->state == HEALTH_UP)
HEALTH(probes, (double)row->probes)
HEALTH(failures, (double)row->failures)
HEALTH(seconds, row->last_ms / 1000.0)

#define NAME(name, expression)                                             \
	static double name_##name(const struct monitor *l, const void *of) \
	{                                                                  \
		const struct resolver_stats *row = of;                     \
                                                                           \
		(void)l;                                                   \
		return expression;                                         \
	}

NAME(addresses, row->addresses)
NAME(lookups, (double)row->lookups)
NAME(failures, (double)row->failures)
NAME(changes, (double)row->changes)
NAME(age, row->responded_ms == 0
		  ? -1
		  : (double)(l->options.tick->now_ms - row->responded_ms) / 1000.0)

static double left_out(const struct monitor *l, const void *row)
{
	(void)row;
	return (double)prober_skipped(l->prober);
}

static const struct samples samples[] = {
	{ OF_HEALTH, "health_up", "gauge",
	  "Whether the health check takes the server for up", health_up },
	{ OF_HEALTH, "health_probes", "counter", "Health probes that were decided",
	  health_probes },
	{ OF_HEALTH, "health_failures", "counter", "Health probes that failed",
	  health_failures },
	{ OF_HEALTH, "health_seconds", "gauge", "How long the last health probe took",
	  health_seconds },
	{ OF_PROCESS, "health_probes_skipped", "counter",
	  "Health probes left out for lack of descriptors, ports or memory", left_out },
	{ OF_NAMES, "resolver_addresses", "gauge",
	  "Addresses that a server's name stands for", name_addresses },
	{ OF_NAMES, "resolver_lookups", "counter", "Lookups of a server's name",
	  name_lookups },
	{ OF_NAMES, "resolver_failures", "counter",
	  "Lookups without an answer: the last one stays in use", name_failures },
	{ OF_NAMES, "resolver_changes", "counter",
	  "Times a server's name stood for something else", name_changes },
	{ OF_NAMES, "resolver_age_seconds", "gauge",
	  "How long ago a server's name was last resolved", name_age },
};

bool monitor_family(const struct monitor *l, unsigned family, unsigned *from,
		    struct exposition *e, size_t reserve)
{
	const struct samples *f = &samples[family];
	struct portion p = {
		.monitor = l, .e = e, .samples = f, .from = *from, .reserve = reserve
	};

	_Static_assert(COUNT(samples) == MONITOR_FAMILIES, "as the header says");
	ASSERT(family < MONITOR_FAMILIES);
	if (*from == 0)
		exposition_family(e, "", f->name, f->kind, f->help);
	if (f->of == OF_HEALTH) {
		prober_each(l->prober, put_health, &p);
	} else if (f->of == OF_NAMES && l->resolver) {
		resolver_each(l->resolver, put_name, &p);
	} else if (f->of == OF_PROCESS) {
		exposition_sample(e, "");
		exposition_real(e, f->value(l, NULL));
	}
	*from = p.at;
	return p.more;
}

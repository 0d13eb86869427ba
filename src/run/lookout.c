#include "run/lookout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "exposition.h"
#include "io/sock.h"

/* In one line on standard error. */
#define LOG_ADDRESSES_MAX 8

struct lookout {
	struct lookout_options options;
	struct resolver *resolver; /* NULL: names are not resolved again */
	struct prober *prober;
	struct list words;         /* on their way, or on their way back */
	bool stopped;
};

/* To one worker, and back. */
struct word {
	struct message message;
	struct list node;          /* in lookout->words: the control thread's */
	struct lookout *lookout;
	struct worker *worker;
	unsigned upstream, server;
	bool probed, up; /* probed: about one address; else what the name stands for */
	bool taken;
	unsigned n;
	struct config_address addresses[];
};

static const struct config_server *server_at(const struct lookout *l, unsigned upstream,
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

static void returned(struct message *m)
{
	struct word *w = CONTAINER(m, struct word, message);
	struct lookout *l = w->lookout;

	if (!w->taken && !l->stopped)
		resolver_again(l->resolver, w->upstream, w->server);
	word_free(w);
}

/* On the worker. */
static void deliver(struct message *m)
{
	struct word *w = CONTAINER(m, struct word, message);
	const struct config *config = w->lookout->options.config;
	struct proxy *p = &w->worker->proxy;

	w->taken = true;
	if (w->probed)
		proxy_probed(p, config, w->upstream, w->server, w->addresses, w->up);
	else
		w->taken = proxy_resolved(p, config, w->upstream, w->server, w->addresses, w->n);
	m->deliver = returned;
	mailbox_post(w->worker->shared->control, m);
}

/* False: no memory for it. */
static bool post(struct lookout *l, struct worker *worker, const struct word *what,
		 const struct config_address *addresses)
{
	size_t bytes = what->n * sizeof(addresses[0]);
	struct word *w = malloc(sizeof(*w) + bytes);

	if (!w)
		return false;
	*w = *what;
	memcpy(w->addresses, addresses, bytes);
	w->lookout = l;
	w->worker = worker;
	w->message.deliver = deliver;
	list_init(&w->node);
	list_append(&l->words, &w->node);
	mailbox_post(&worker->tick.mailbox, &w->message);
	return true;
}

static bool post_all(struct lookout *l, const struct word *what,
		     const struct config_address *addresses)
{
	bool good = true;

	for (unsigned i = 0; i < l->options.worker_n; i++)
		good &= post(l, &l->options.workers[i], what, addresses);
	return good;
}

/* ---- what the resolver tells ------------------------------------------------- */

static void log_addresses(const struct lookout *l, const struct resolver_news *news)
{
	char text[LOG_ADDRESSES_MAX * (SOCK_TEXT_MAX + 2) + 32];
	size_t n = 0;

	for (unsigned i = 0; i < news->n && i < LOG_ADDRESSES_MAX; i++) {
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s", i > 0 ? ", " : "");
		n += sock_text((const struct sockaddr *)&news->addresses[i].sa, text + n,
			       sizeof(text) - n);
	}
	if (news->n > LOG_ADDRESSES_MAX)
		snprintf(text + n, sizeof(text) - n, " and %u more", news->n - LOG_ADDRESSES_MAX);
	fprintf(stderr, "fairlead: upstream %s: %s is now %s\n",
		l->options.config->upstreams[news->upstream].name,
		server_at(l, news->upstream, news->server)->address, text);
}

static void log_failure(const struct lookout *l, const struct resolver_news *news)
{
	const char *upstream = l->options.config->upstreams[news->upstream].name;
	const char *server = server_at(l, news->upstream, news->server)->address;

	if (news->failure)
		fprintf(stderr, "fairlead: upstream %s: %s cannot be resolved (%s); its last "
				"addresses stay in use\n", upstream, server, news->failure);
	else
		fprintf(stderr, "fairlead: upstream %s: %s can be resolved again\n", upstream,
			server);
}

static void resolved(void *owner, const struct resolver_news *news)
{
	struct lookout *l = owner;
	struct word what = { .upstream = news->upstream, .server = news->server, .n = news->n };

	if (news->failure || news->recovered)
		log_failure(l, news);
	if (!news->changed)
		return;
	log_addresses(l, news);
	if (!post_all(l, &what, news->addresses))
		resolver_again(l->resolver, news->upstream, news->server);
	prober_resolved(l->prober, news->upstream, news->server, news->addresses, news->n);
}

static void ask(void *owner, struct resolver_ask *a)
{
	struct lookout *l = owner;

	dns_thread_ask(l->options.dns, a);
}

/* ---- what the prober tells --------------------------------------------------- */

/* That servers are up when they are first asked is no news. */
static void log_health(const struct lookout *l, const struct prober_news *news)
{
	const struct config_upstream *u = &l->options.config->upstreams[news->upstream];
	const char *name = u->servers[news->server].name;
	char address[SOCK_TEXT_MAX];

	if (news->first && news->up)
		return;
	sock_text((const struct sockaddr *)&news->address->sa, address, sizeof(address));
	fprintf(stderr, "fairlead: upstream %s: server %s%s%s%s is %s%s%s%s\n", u->name, name,
		strcmp(name, address) ? " (" : "", strcmp(name, address) ? address : "",
		strcmp(name, address) ? ")" : "", news->up ? "up" : "down",
		news->why ? " (" : "", news->why ? news->why : "", news->why ? ")" : "");
}

static bool probed(void *owner, const struct prober_news *news)
{
	struct lookout *l = owner;
	struct word what = { .upstream = news->upstream, .server = news->server, .n = 1,
			     .probed = true, .up = news->up };

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

struct lookout *lookout_new(const struct lookout_options *options)
{
	struct lookout *l = calloc(1, sizeof(*l));
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
		.told = probed,
		.owner = l,
	});
	if (has_names)
		l->resolver = resolver_new(&(struct resolver_options){
			.tick = options->tick,
			.config = options->config,
			.ask = ask,
			.told = resolved,
			.owner = l,
		});
	if (l->prober && (l->resolver || !has_names) &&
	    (!has_names || dns_thread_servers(options->dns, options->config->resolver.servers)))
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

void lookout_stop(struct lookout *l)
{
	l->stopped = true;
	prober_stop(l->prober);
	if (l->resolver)
		resolver_stop(l->resolver);
}

void lookout_recall(struct lookout *l)
{
	LIST_EACH(&l->words, node)
		word_free(LIST_ITEM(node, struct word, node));
}

bool lookout_idle(const struct lookout *l)
{
	return l->stopped && list_empty(&l->words) && prober_idle(l->prober) &&
	       (!l->resolver || resolver_idle(l->resolver));
}

void lookout_free(struct lookout *l)
{
	ASSERT(lookout_idle(l));
	prober_free(l->prober);
	if (l->resolver)
		resolver_free(l->resolver);
	free(l);
}

/* ---- metrics ----------------------------------------------------------------- */

/* One family at a time: `field` says which of the row. */
struct family {
	const struct lookout *lookout;
	struct exposition *e;
	const char *name;
	unsigned field;
};

static void put_labels(const struct family *f, unsigned upstream, unsigned server,
		       const struct sockaddr *address)
{
	const struct config_upstream *u = &f->lookout->options.config->upstreams[upstream];
	char text[SOCK_TEXT_MAX];

	exposition_put(f->e, "fairlead_%s{upstream=", f->name);
	exposition_label(f->e, u->name);
	exposition_put(f->e, ",server=");
	exposition_label(f->e, u->servers[server].name);
	if (address) {
		sock_text(address, text, sizeof(text));
		exposition_put(f->e, ",address=");
		exposition_label(f->e, text);
	}
	exposition_put(f->e, "} ");
}

static void put_health(void *owner, const struct prober_row *row)
{
	const struct family *f = owner;
	const double values[] = { row->state == HEALTH_UP, (double)row->probes,
				  (double)row->failures, row->last_ms / 1000.0 };

	if (f->field == 0 && row->state == HEALTH_UNKNOWN)
		return;
	put_labels(f, row->upstream, row->server, row->address);
	exposition_put(f->e, "%.15g\n", values[f->field]);
}

static void put_name(void *owner, const struct resolver_row *row)
{
	const struct family *f = owner;
	uint64_t age_ms = f->lookout->options.tick->now_ms - row->answered_ms;
	const double values[] = { row->addresses, (double)row->lookups, (double)row->failures,
				  (double)row->changes, (double)age_ms / 1000.0 };

	if (f->field == 4 && row->answered_ms == 0)
		return;
	put_labels(f, row->upstream, row->server, NULL);
	exposition_put(f->e, "%.15g\n", values[f->field]);
}

static const struct {
	const char *name, *sample, *kind, *help;
} health_families[] = {
	{ "health_up", "health_up", "gauge", "Whether the health check takes the server for up" },
	{ "health_probes", "health_probes_total", "counter", "Health probes that were decided" },
	{ "health_failures", "health_failures_total", "counter", "Health probes that failed" },
	{ "health_seconds", "health_seconds", "gauge", "How long the last health probe took" },
}, name_families[] = {
	{ "resolver_addresses", "resolver_addresses", "gauge",
	  "Addresses that a server's name stands for" },
	{ "resolver_lookups", "resolver_lookups_total", "counter", "Lookups of a server's name" },
	{ "resolver_failures", "resolver_failures_total", "counter",
	  "Lookups without an answer: the last one stays in use" },
	{ "resolver_changes", "resolver_changes_total", "counter",
	  "Times a server's name stood for something else" },
	{ "resolver_age_seconds", "resolver_age_seconds", "gauge",
	  "How long ago a server's name was last resolved" },
};

size_t lookout_metrics(const struct lookout *l, char *text, size_t size)
{
	struct exposition e = { text, text + size, false };

	for (unsigned i = 0; i < COUNT(health_families); i++) {
		struct family f = { l, &e, health_families[i].sample, i };

		exposition_help(&e, health_families[i].name, health_families[i].kind,
				health_families[i].help);
		prober_each(l->prober, put_health, &f);
	}
	exposition_help(&e, "health_left_out", "counter",
			"Health probes left out for lack of descriptors, ports or memory");
	exposition_put(&e, "fairlead_health_left_out_total %llu\n",
		       (unsigned long long)prober_left_out(l->prober));
	for (unsigned i = 0; l->resolver && i < COUNT(name_families); i++) {
		struct family f = { l, &e, name_families[i].sample, i };

		exposition_help(&e, name_families[i].name, name_families[i].kind,
				name_families[i].help);
		resolver_each(l->resolver, put_name, &f);
	}
	return e.overflow ? 0 : (size_t)(e.at - text);
}

/* fairlead-lab: a slow HTTP origin and a slow memcached, for examples and tests. */
#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "cache.h"
#include "io/sock.h"
#include "origin.h"

#define WORKERS_MAX 64
#define ITEMS_MAX 64
#define RESERVED_FDS 64u

struct lab_options {
	enum io_engine_kind engine;
	unsigned workers;
	uint32_t delay_ms;
	const char *http, *memcached; /* NULL: not served */
	unsigned item_n;
	const char *items[ITEMS_MAX];
};

struct lab_worker {
	pthread_t thread;
	const struct lab_options *options;
	struct cache_store *store;
	struct quota *clients;
	int http_fd, memcached_fd; /* -1: none */
	struct tick tick;
	struct origin_lab origin;
	struct cache_lab cache;
};

static const char usage[] =
	"usage: fairlead-lab [--http ADDRESS] [--memcached ADDRESS] [--delay 2s]\n"
	"                    [--engine auto|io_uring|epoll] [--workers N] [--item KEY=VALUE]...\n"
	"\n"
	"  --http ADDRESS       address of the HTTP origin: host:port or unix:/path\n"
	"  --memcached ADDRESS  address of memcached, which has the item foo=bar\n"
	"  --delay TIME         delay of each response, such as 2s or 50ms\n"
	"  --item KEY=VALUE     adds an item to memcached\n"
	"\n"
	"HTTP paths: / /delay/MS /bytes/N /chunked/N /status/N /echo /headers /drip/N/MS\n"
	"            /early /upgrade /fault/{reset-head,reset-body,short-body,never}\n";

static int complain(const char *what, const char *detail)
{
	fprintf(stderr, "fairlead-lab: %s%s; see fairlead-lab --help\n", what, detail);
	return 2;
}

static bool parse_delay(const char *text, uint32_t *ms)
{
	char *end;
	double n = strtod(text, &end);

	if (end == text || n < 0 || n > 3600000)
		return false;
	if (strcmp(end, "ms") == 0)
		*ms = (uint32_t)n;
	else if (strcmp(end, "s") == 0 && n <= 3600)
		*ms = (uint32_t)(n * 1000);
	else
		return false;
	return true;
}

static bool parse_engine(const char *text, enum io_engine_kind *engine)
{
	char why[512];

	if (strcmp(text, "epoll") == 0) {
		*engine = IO_ENGINE_EPOLL;
		return true;
	}
	if (strcmp(text, "auto") != 0 && strcmp(text, "io_uring") != 0)
		return false;
	*engine = io_choose(why, sizeof(why));
	if (*engine != IO_ENGINE_RING)
		fprintf(stderr, "fairlead-lab: falling back to epoll: %s\n", why);
	return true;
}

static int parse_arguments(int argc, char **argv, struct lab_options *o)
{
	enum { HTTP = 256, MEMCACHED, DELAY, ENGINE, WORKERS, ITEM };
	static const struct option options[] = {
		{ "http", required_argument, NULL, HTTP },
		{ "memcached", required_argument, NULL, MEMCACHED },
		{ "delay", required_argument, NULL, DELAY },
		{ "engine", required_argument, NULL, ENGINE },
		{ "workers", required_argument, NULL, WORKERS },
		{ "item", required_argument, NULL, ITEM },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	const char *engine = "auto";
	int c;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case HTTP: o->http = optarg; break;
		case MEMCACHED: o->memcached = optarg; break;
		case ENGINE: engine = optarg; break;
		case WORKERS: o->workers = (unsigned)strtoul(optarg, NULL, 10); break;
		case 'h': fputs(usage, stdout); exit(0);
		case DELAY:
			if (!parse_delay(optarg, &o->delay_ms))
				return complain("--delay takes a time such as 2s or 50ms, not ",
						optarg);
			break;
		case ITEM:
			if (o->item_n == ITEMS_MAX || !strchr(optarg, '='))
				return complain("--item takes KEY=VALUE, at most 64 times: ",
						optarg);
			o->items[o->item_n++] = optarg;
			break;
		default:
			return complain("unknown option", "");
		}
	}
	if (!parse_engine(engine, &o->engine))
		return complain("--engine takes auto, io_uring or epoll, not ", engine);
	if (o->workers < 1 || o->workers > WORKERS_MAX)
		return complain("--workers takes a number from 1 to 64", "");
	if (!o->http && !o->memcached)
		return complain("--http or --memcached is missing", "");
	return 0;
}

/* ---- listeners ------------------------------------------------------------ */

static socklen_t resolve(const char *text, struct sockaddr_storage *ss)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE }, *found;
	const char *colon = strrchr(text, ':');
	char host[256];
	size_t n;
	socklen_t len = 0;

	if (strncmp(text, "unix:", 5) == 0) {
		struct sockaddr_un *un = (struct sockaddr_un *)(void *)ss;

		memset(un, 0, sizeof(*un));
		un->sun_family = AF_UNIX;
		snprintf(un->sun_path, sizeof(un->sun_path), "%s", text + 5);
		return sizeof(*un);
	}
	if (!colon || (size_t)(colon - text) >= sizeof(host))
		return 0;
	n = (size_t)(colon - text);
	if (n >= 2 && text[0] == '[' && text[n - 1] == ']') {
		text++;
		n -= 2;
	}
	memcpy(host, text, n);
	host[n] = '\0';
	if (getaddrinfo(host, colon + 1, &hints, &found) != 0)
		return 0;
	len = found->ai_addrlen;
	memcpy(ss, found->ai_addr, len);
	freeaddrinfo(found);
	return len;
}

/* A listening socket for worker `i`: its own, or for a path a duplicate of the first. */
static int open_listener(const char *text, unsigned i, int first)
{
	struct sockaddr_storage ss;
	socklen_t len;
	int fd;

	if (!text)
		return -1;
	len = resolve(text, &ss);
	if (len == 0) {
		fprintf(stderr,
			"fairlead-lab: %s is not an address; "
			"write host:port or unix:/path\n",
			text);
		exit(1);
	}
	if (ss.ss_family == AF_UNIX && i > 0)
		return dup(first);
	fd = sock_listen((struct sockaddr *)&ss, len, 4096, ss.ss_family != AF_UNIX);
	if (fd < 0) {
		fprintf(stderr, "fairlead-lab: cannot listen on %s: %s\n", text, strerror(-fd));
		exit(1);
	}
	return fd;
}

/* ---- workers -------------------------------------------------------------- */

static void lab_trim(struct tick *t)
{
	struct lab_worker *w = CONTAINER(t, struct lab_worker, tick);

	if (w->http_fd >= 0)
		origin_lab_trim(&w->origin);
	if (w->memcached_fd >= 0)
		cache_lab_trim(&w->cache);
}

static void *worker_run(void *arg)
{
	struct lab_worker *w = arg;
	const struct lab_options *o = w->options;
	int error = tick_init(&w->tick, &(struct io_options){ .engine = o->engine,
							     .buffers = 16384 });

	if (error < 0) {
		fprintf(stderr, "fairlead-lab: cannot open a loop: %s\n", strerror(-error));
		exit(1);
	}
	w->tick.trim_owner = lab_trim;
	if (w->http_fd >= 0) {
		w->origin.tick = &w->tick;
		w->origin.delay_ms = o->delay_ms;
		w->origin.clients = w->clients;
		origin_lab_start(&w->origin, w->http_fd);
	}
	if (w->memcached_fd >= 0)
		cache_lab_start(&w->cache, &(struct cache_options){
			.tick = &w->tick,
			.listener = w->memcached_fd,
			.delay_ms = o->delay_ms,
			.store = w->store,
			.clients = w->clients,
		});
	for (;;)
		tick_once(&w->tick);
}

static void fill_store(struct cache_store *store, const struct lab_options *o)
{
	cache_store_set(store, SLICE("foo"), SLICE("bar"));
	for (unsigned i = 0; i < o->item_n; i++) {
		const char *equals = strchr(o->items[i], '=');

		struct slice key = { o->items[i], (size_t)(equals - o->items[i]) };

		cache_store_set(store, key, slice_of(equals + 1));
	}
}

int main(int argc, char **argv)
{
	struct lab_options options = { .workers = 1, .delay_ms = 2000 };
	int status = parse_arguments(argc, argv, &options);
	struct lab_worker *workers;
	struct quota clients;
	sigset_t set;
	int got;

	if (status != 0)
		return status;
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	quota_init(&clients, (uint32_t)(sock_raise_limit(1u << 20) - RESERVED_FDS));
	workers = calloc(options.workers, sizeof(*workers));
	if (!workers)
		return 1;
	struct cache_store *store = cache_store_new();

	fill_store(store, &options);
	for (unsigned i = 0; i < options.workers; i++) {
		workers[i].options = &options;
		workers[i].store = store;
		workers[i].clients = &clients;
		workers[i].http_fd = open_listener(options.http, i, workers[0].http_fd);
		workers[i].memcached_fd = open_listener(options.memcached, i,
							workers[0].memcached_fd);
	}
	for (unsigned i = 0; i < options.workers; i++)
		if (pthread_create(&workers[i].thread, NULL, worker_run, &workers[i]) != 0)
			return 1;
	fprintf(stderr, "fairlead-lab: ready engine=%s workers=%u delay=%ums\n",
		io_engine_name(options.engine), options.workers, options.delay_ms);
	sigwait(&set, &got);
	/* No state to save: the threads end with the process. */
	_exit(0);
}

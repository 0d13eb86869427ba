#include "series.h"

#include <stdlib.h>
#include <string.h>

#include "http/emit.h"

/* Space for "#" and a number. */
#define REPEATED_BYTES 12

bool series_init(struct phase_tables *t, unsigned workers, uint32_t slots)
{
	return phase_table_init(&t->routes, workers, slots) &&
	       phase_table_init(&t->upstreams, workers, slots) &&
	       phase_table_init(&t->servers, workers, slots);
}

void series_done(struct phase_tables *t)
{
	phase_table_done(&t->routes);
	phase_table_done(&t->upstreams);
	phase_table_done(&t->servers);
}

/* ---- upstreams -------------------------------------------------------------- */

void series_open_upstream(struct config_versions *all, struct upstream_shared *shared)
{
	if (!all->phases)
		return;
	shared->registry->phases = &all->phases->servers;
	shared->phase_slot = phase_table_take(&all->phases->upstreams);
	for (unsigned w = 0; w < all->worker_n; w++)
		shared->stats[w].phases = phase_table_at(&all->phases->upstreams, w,
							 shared->phase_slot);
}

void series_close_upstream(struct config_versions *all, struct upstream_shared *shared)
{
	if (all->phases)
		phase_table_put(&all->phases->upstreams, shared->phase_slot);
}

/* ---- routes ----------------------------------------------------------------- */

static size_t append(char *name, size_t n, struct slice text)
{
	size_t space = ROUTE_NAME_MAX - 1 - REPEATED_BYTES - n;

	if (text.len > space) {
		text.len = space;
		/* Not within a character of UTF-8, which Prometheus would refuse. */
		while (text.len > 0 && ((unsigned char)text.ptr[text.len] & 0xc0) == 0x80)
			text.len--;
	}
	memcpy(name + n, text.ptr, text.len);
	return n + text.len;
}

static void name_write(char name[ROUTE_NAME_MAX], const struct config_route *route)
{
	size_t n = 0;

	if (route->host_n > 0) {
		/* "*.example.org" is ".example.org". */
		n = append(name, n,
			   route->hosts[0].ptr[0] == '.' ? SLICE("*") : SLICE(""));
		n = append(name, n, route->hosts[0]);
	}
	n = append(name, n, route->path);
	n = append(name, n, route->prefix ? SLICE("*") : SLICE(""));
	name[n] = '\0';
}

static struct route_shared *route_find(struct config_versions *all, const char *name)
{
	struct names_entry *entry = names_find(&all->routes_shared, slice_of(name));

	return entry ? CONTAINER(entry, struct route_shared, entry) : NULL;
}

static struct route_shared *route_find_or_new(struct config_versions *all,
					      const char *name)
{
	struct route_shared *shared = route_find(all, name);

	if (shared)
		return shared;
	shared = calloc(1, sizeof(*shared));
	if (!shared)
		return NULL;
	memcpy(shared->name, name, strlen(name) + 1);
	shared->slot = phase_table_take(&all->phases->routes);
	names_put(&all->routes_shared, &shared->entry, slice_of(shared->name));
	return shared;
}

/* A name is one route of a version. */
static struct route_shared *route_shared_of(struct config_version *version,
					    const struct config_route *route)
{
	char name[ROUTE_NAME_MAX], digits[EMIT_DIGITS_MAX];
	struct route_shared *first;
	struct slice number;
	size_t n;

	name_write(name, route);
	first = route_find_or_new(version->all, name);
	if (!first || first->version != version) {
		if (first) {
			first->version = version;
			first->repeated = 1;
		}
		return first;
	}
	number = emit_digits(digits, ++first->repeated);
	n = strlen(name);
	name[n++] = '#';
	memcpy(name + n, number.ptr, number.len);
	name[n + number.len] = '\0';
	return route_find_or_new(version->all, name);
}

bool series_open_routes(struct config_version *version)
{
	unsigned n = version->config->route_n;

	if (!version->all->phases)
		return true;
	version->routes_shared = calloc(n + 1, sizeof(struct route_shared *));
	version->route_slots = calloc(n + 1, sizeof(version->route_slots[0]));
	if (!version->routes_shared || !version->route_slots)
		return false;
	for (unsigned i = 0; i < n; i++) {
		struct route_shared *shared =
			route_shared_of(version, &version->config->routes[i]);

		if (!shared)
			return false;
		shared->refs++;
		version->routes_shared[i] = shared;
		version->route_slots[i] = shared->slot;
	}
	return true;
}

void series_close_routes(struct config_version *version)
{
	struct config_versions *all = version->all;

	for (unsigned i = 0; version->routes_shared && i < version->config->route_n;
	     i++) {
		struct route_shared *shared = version->routes_shared[i];

		if (!shared || --shared->refs > 0)
			continue;
		phase_table_put(&all->phases->routes, shared->slot);
		names_remove(&all->routes_shared, &shared->entry);
		free(shared);
	}
	free(version->routes_shared);
	free(version->route_slots);
}

/* Families of times by phase: of routes, upstreams and servers. A histogram without a value is left
 * out, so the size of a response follows what is used, not what is configured. */
#include "base/phases.h"
#include "scrapeparts.h"

static const char other[] = "(other)";

/* The samples of the present phase of a slot, if there are values. put_labels(): of the object. */
static void put_phase(struct scrape *s, const struct phase_table *t, uint32_t slot,
		      void (*put_labels)(struct scrape *s))
{
	struct histogram h = { 0 };
	uint64_t n = 0;

	for (unsigned w = scrape_first_worker(s); w < scrape_end_worker(s); w++)
		scrape_add_histogram(&h, &phase_table_at(t, w, slot)->of[s->phase]);
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		n += h.buckets[i];
	if (n > 0)
		scrape_put_histogram(s, &h, put_labels);
}

/* The next worker, then the next phase. False: the object has no more samples. */
static bool next_phase(struct scrape *s)
{
	if (scrape_next_worker(s))
		return true;
	s->phase = (s->phase + 1) % PHASES;
	return s->phase != 0;
}

static void label_phase(struct scrape *s)
{
	exposition_label(&s->e, "phase", phase_name((enum phase)s->phase));
}

static const struct phase_tables *tables_of(const struct scrape *s)
{
	return s->config_version->all->phases;
}

/* ---- routes ----------------------------------------------------------------- */

static void label_route(struct scrape *s)
{
	unsigned i = s->upstream;

	exposition_label(&s->e, "route",
			 i < s->config_version->config->route_n
				 ? s->config_version->routes_shared[i]->name
				 : other);
	label_phase(s);
}

/* Behind the last route come those that share a slot. */
bool scrape_step_route_phases(struct scrape *s, const struct metric_family *f)
{
	unsigned n = s->config_version->config->route_n;
	uint32_t slot = s->upstream < n ? s->config_version->route_slots[s->upstream]
					: PHASE_SLOT_OTHER;

	(void)f;
	if (slot != PHASE_SLOT_OTHER || s->upstream == n) {
		put_phase(s, &tables_of(s)->routes, slot, label_route);
		if (next_phase(s))
			return true;
	}
	return s->upstream++ < n;
}

/* ---- upstreams -------------------------------------------------------------- */

static void label_upstream(struct scrape *s)
{
	unsigned i = s->upstream;

	exposition_label(&s->e, "upstream",
			 i < s->config_version->config->upstream_n
				 ? s->config_version->config->upstreams[i].name
				 : other);
	label_phase(s);
}

bool scrape_step_upstream_phases(struct scrape *s, const struct metric_family *f)
{
	unsigned n = s->config_version->config->upstream_n;
	uint32_t slot =
		s->upstream < n
			? s->config_version->upstreams_shared[s->upstream]->phase_slot
			: PHASE_SLOT_OTHER;

	(void)f;
	if (slot != PHASE_SLOT_OTHER || s->upstream == n) {
		put_phase(s, &tables_of(s)->upstreams, slot, label_upstream);
		if (next_phase(s))
			return true;
	}
	return s->upstream++ < n;
}

/* ---- servers ---------------------------------------------------------------- */

static void label_server(struct scrape *s)
{
	const struct registry_entry *entry = scrape_entry(s);

	label_upstream(s);
	exposition_label(&s->e, "server", entry ? entry->name : other);
	exposition_label(&s->e, "address", entry ? entry->address : other);
}

static bool has_series(const struct registry_entry *entry)
{
	return atomic_load(&entry->published) && entry->phase_slot != PHASE_SLOT_OTHER;
}

bool scrape_step_server_phases(struct scrape *s, const struct metric_family *f)
{
	unsigned n = s->config_version->config->upstream_n;
	const struct registry_entry *entry = scrape_entry(s);
	bool is_other = s->upstream == n;

	(void)f;
	if (is_other || (entry && has_series(entry))) {
		put_phase(s, &tables_of(s)->servers,
			  is_other ? PHASE_SLOT_OTHER : entry->phase_slot, label_server);
		if (next_phase(s))
			return true;
	}
	if (is_other)
		return false;
	scrape_next_entry(s);
	return true;
}

/* ---- what has no series of its own ------------------------------------------ */

bool scrape_step_sharing(struct scrape *s, const struct metric_family *f)
{
	const struct phase_tables *t = tables_of(s);
	const struct {
		const char *of;
		const struct phase_table *table;
	} all[] = { { "route", &t->routes },
		    { "upstream", &t->upstreams },
		    { "server", &t->servers } };

	(void)f;
	for (size_t i = 0; i < COUNT(all); i++) {
		exposition_sample(&s->e, "");
		exposition_label(&s->e, "of", all[i].of);
		exposition_count(&s->e, atomic_load(&all[i].table->sharing));
	}
	return false;
}

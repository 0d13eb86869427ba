/* Families of TLS and of certificates. */
#include <stdio.h>

#include "scrapeparts.h"
#include "tls/session.h"

static const char *const tls_sides[] = {
	[TLS_SIDE_CLIENT] = "upstream", [TLS_SIDE_SERVER] = "listener"
};

/* The sum of a counter of struct tls_stats. */
static uint64_t sum_of_ticks(const struct scrape *s, size_t offset)
{
	uint64_t sum = 0;

	for (unsigned w = scrape_first_worker(s); w < scrape_end_worker(s); w++)
		if (atomic_load(&s->workers[w].ready))
			sum += scrape_counter_at(&s->workers[w].tick.handshakes.stats,
						 offset);
	return sum;
}

bool scrape_step_tls(struct scrape *s, const struct metric_family *f)
{
	scrape_begin(s, "");
	exposition_count(&s->e, sum_of_ticks(s, f->offset));
	return scrape_next_worker(s);
}

bool scrape_step_handshakes(struct scrape *s, const struct metric_family *f)
{
	static const char *const versions[] = { [TLS_1_2] = "1.2", [TLS_1_3] = "1.3" };

	(void)f;
	for (unsigned i = 0; i < TLS_SIDES * 2 * 2; i++) {
		unsigned side = i / 4, version = i / 2 % 2, resumed = i % 2;

		scrape_begin(s, "");
		exposition_label(&s->e, "side", tls_sides[side]);
		exposition_label(&s->e, "version", versions[version]);
		exposition_label(&s->e, "resumed", resumed ? "true" : "false");
		exposition_count(&s->e,
				 sum_of_ticks(s, offsetof(struct tls_stats, handshakes) +
							 i * sizeof(uint64_t)));
	}
	return scrape_next_worker(s);
}

static void put_side(struct scrape *s)
{
	exposition_label(&s->e, "side", tls_sides[s->position]);
}

/* `position`: the side. */
static bool next_side(struct scrape *s)
{
	if (++s->position < TLS_SIDES)
		return true;
	s->position = 0;
	return scrape_next_worker(s);
}

bool scrape_step_handshake_seconds(struct scrape *s, const struct metric_family *f)
{
	struct histogram h = { 0 };

	(void)f;
	for (unsigned w = scrape_first_worker(s); w < scrape_end_worker(s); w++)
		if (atomic_load(&s->workers[w].ready))
			scrape_add_histogram(
				&h, &s->workers[w]
					     .tick.handshakes.stats.seconds[s->position]);
	scrape_put_histogram(s, &h, put_side);
	return next_side(s);
}

bool scrape_step_tickets(struct scrape *s, const struct metric_family *f)
{
	static const char *const results[] = { "miss", "hit" };

	(void)f;
	for (unsigned hit = 0; hit < 2; hit++) {
		scrape_begin(s, "");
		put_side(s);
		exposition_label(&s->e, "result", results[hit]);
		exposition_count(&s->e,
				 sum_of_ticks(s, offsetof(struct tls_stats, tickets) +
							 (2 * s->position + hit) *
								 sizeof(uint64_t)));
	}
	return next_side(s);
}

/* Workers without TLS have none. */
bool scrape_step_tls_counts(struct scrape *s, const struct metric_family *f)
{
	static const char *const directions[] = { "received", "sent" };

	for (unsigned i = 0; i < COUNT(directions); i++) {
		uint64_t sum = 0;

		for (unsigned w = scrape_first_worker(s); w < scrape_end_worker(s); w++)
			if (atomic_load(&s->workers[w].ready) && s->workers[w].tick.tls)
				sum += scrape_counter_at(
					tls_thread_counts(s->workers[w].tick.tls),
					f->offset + i * sizeof(uint64_t));
		scrape_begin(s, "");
		exposition_label(&s->e, "direction", directions[i]);
		exposition_count(&s->e, sum);
	}
	return scrape_next_worker(s);
}

/* `position`: the fault. */
bool scrape_step_tls_failures(struct scrape *s, const struct metric_family *f)
{
	unsigned fault = s->position + 1;

	(void)f;
	for (unsigned side = 0; side < TLS_SIDES; side++) {
		scrape_begin(s, "");
		exposition_label(&s->e, "side", tls_sides[side]);
		exposition_label(&s->e, "fault", tls_fault_name((enum tls_fault)fault));
		exposition_count(&s->e,
				 sum_of_ticks(s, offsetof(struct tls_stats, failures) +
							 (side * TLS_FAULTS + fault) *
								 sizeof(uint64_t)));
	}
	if (++s->position < TLS_FAULTS - 1)
		return true;
	s->position = 0;
	return scrape_next_worker(s);
}

bool scrape_step_library_bytes(struct scrape *s, const struct metric_family *f)
{
	(void)f;
	exposition_sample(&s->e, "");
	exposition_count(&s->e, tls_library_bytes());
	return false;
}

/* ---- certificates --------------------------------------------------------- */

#define FILE_LABEL_MAX 512

bool scrape_step_refused(struct scrape *s, const struct metric_family *f)
{
	(void)f;
	exposition_sample(&s->e, "");
	exposition_count(&s->e, s->config_version->config->refused_n);
	return false;
}

/* `position`: the index of the pair. */
bool scrape_step_expiry(struct scrape *s, const struct metric_family *f)
{
	const struct config *config = s->config_version->config;
	const struct tls_certificate *c;
	char file[FILE_LABEL_MAX];

	(void)f;
	if (s->position >= config->pair_n)
		return false;
	c = s->config_version->certificates[s->position++];
	if (c) {
		snprintf(file, sizeof(file), "%.*s", SLICE_ARG(c->file));
		exposition_sample(&s->e, "");
		exposition_label(&s->e, "file", file);
		exposition_label(&s->e, "name", c->names_n > 0 ? c->names[0] : "");
		exposition_real(&s->e, (double)c->not_after);
	}
	return s->position < config->pair_n;
}

/* The counters of shared rate limits that the caches of a sim world have: `ma` and `mg`. Where caches
 * are faulty they lie, forget, refuse, are silent or close.
 * Owner: struct simworld. */
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "simworld.h"

enum counter_fault {
	COUNTER_RIGHT,
	COUNTER_ERROR,
	COUNTER_NO_NUMBER,
	COUNTER_TOO_LARGE,
	COUNTER_FORGETS,
	COUNTER_SLOW,
	COUNTER_CLOSES,
	COUNTER_SILENT, /* on this connection from now on */
	COUNTER_FAULTS,
};

/* Keys with the same place are one, which is as if the cache had evicted the others: it forgets. */
static uint64_t *counter_of(struct simworld *w, uint64_t hash)
{
	struct simworld_counter *c = &w->counters[hash % SIMWORLD_COUNTERS];

	if (c->hash != hash)
		*c = (struct simworld_counter){ .hash = hash };
	return &c->n;
}

static enum counter_fault counter_fault(const struct simworld *w)
{
	uint64_t x = hash_mix(w->seed + w->counter_commands);

	if (!w->faults.faulty_caches || x % 4 > 0)
		return COUNTER_RIGHT;
	return (enum counter_fault)(x / 4 % COUNTER_FAULTS);
}

static void counter_send(struct sim_peer *a, bool found, bool reads, uint64_t n)
{
	char number[32], text[64];

	snprintf(number, sizeof(number), "%llu", (unsigned long long)n);
	snprintf(text, sizeof(text), "VA %zu\r\n%s\r\n", strlen(number), number);
	sim_peer_send_text(a, found ? text : reads ? "EN\r\n" : "NF\r\n");
}

bool simworld_is_counter(struct slice line)
{
	return slice_starts(line, SLICE("ma fl:rate:")) ||
	       slice_starts(line, SLICE("mg fl:rate:"));
}

bool simworld_counter_reply(struct simworld *w, struct sim_peer *a, struct slice line)
{
	const char *space = memchr(line.ptr + 3, ' ', line.len - 3);
	bool reads = line.ptr[1] == 'g', back = memmem(line.ptr, line.len, " MD ", 4);
	uint64_t hash, *n;

	if (!space)
		simworld_fail(w, "a cache gets the command %.*s", SLICE_ARG(line));
	hash = hash_mix(hash_bytes(HASH_BEGIN,
				   (struct slice){ line.ptr + 3,
						   (size_t)(space - line.ptr) - 3 }));
	n = counter_of(w, hash);
	simworld_log(w, "a cache gets a command about a counter");
	w->counter_commands++;
	a->pause_ms = 0;
	if (back)
		*n -= *n > 0;
	else if (!reads)
		++*n;
	switch (counter_fault(w)) {
	case COUNTER_SLOW:
		a->pause_ms = 1 + (uint32_t)(w->counter_commands % 150);
		break;
	case COUNTER_FORGETS:
		*n = reads || back ? 0 : 1;
		break;
	case COUNTER_ERROR:
		sim_peer_send_text(a, "SERVER_ERROR out of memory storing object\r\n");
		return true;
	case COUNTER_NO_NUMBER:
		sim_peer_send_text(a, "VA 5\r\nhello\r\n");
		return true;
	case COUNTER_TOO_LARGE:
		sim_peer_send_text(a, "VA 9\r\n999999999\r\n");
		return true;
	case COUNTER_CLOSES:
		sim_peer_close(a);
		return false;
	case COUNTER_SILENT:
		return false;
	case COUNTER_RIGHT:
	case COUNTER_FAULTS:
		break;
	}
	counter_send(a, *n > 0, reads, *n);
	return true;
}

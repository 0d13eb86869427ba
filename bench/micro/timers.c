/* The wheel: what a deadline costs. */
#include "base/wheel.h"

#include "micro.h"

#define OTHERS 10000u
#define BEGIN_MS 1000000u
#define TURN_MS 8u

static struct wheel wheel, alone;
static struct timer one, others[OTHERS];
static uint64_t now_ms;
static unsigned rang;

static void ring(struct timer *t)
{
	(void)t;
	rang++;
}

/* In all of the slots; the time of their wheel stands still, so that none of them rings. */
static void start_others(void)
{
	for (unsigned i = 0; i < OTHERS; i++) {
		timer_init(&others[i], ring);
		timer_set(&wheel, &others[i], now_ms + 60000 + i * 40);
	}
}

static void prepare_timers(void)
{
	now_ms = BEGIN_MS;
	wheel_init(&wheel, now_ms);
	wheel_init(&alone, now_ms);
	timer_init(&one, ring);
	start_others();
}

static void start_stop(unsigned n)
{
	while (n-- > 0) {
		timer_set(&wheel, &one, now_ms + 10000);
		micro_keep(&one);
		timer_stop(&wheel, &one);
	}
}

static void move_later(unsigned n)
{
	timer_set(&wheel, &one, now_ms + 10000);
	for (unsigned i = 0; i < n; i++) {
		timer_set(&wheel, &one, now_ms + 10000 + (i & 4095));
		micro_keep(&one);
	}
	timer_stop(&wheel, &one);
}

static void start_ring(unsigned n)
{
	uint64_t time_ms = alone.now_ms;
	unsigned before = rang;

	for (unsigned i = 0; i < n; i++) {
		timer_set(&alone, &one, time_ms + TURN_MS);
		time_ms += 2 * (uint64_t)TURN_MS;
		wheel_expire(&alone, time_ms);
	}
	micro_must(rang == before + n, "a timer that rings");
}

/* A tick is much shorter than a slot: mostly the wheel does not turn. */
static void turn_nothing(unsigned n)
{
	while (n-- > 0) {
		wheel_expire(&wheel, now_ms);
		micro_keep(&wheel);
	}
}

static void next_of_many(unsigned n)
{
	while (n-- > 0) {
		uint64_t next_ms = wheel_next(&wheel);

		micro_must(next_ms != WHEEL_NEVER, "a next timer");
	}
}

static const struct micro timers[] = {
	{ "wheel-set-stop", "a timer set and stopped", start_stop },
	{ "wheel-move", "a deadline moved, lazily", move_later },
	{ "wheel-ring", "a timer set, two slots turned, rung", start_ring },
	{ "wheel-turn", "a tick within a slot, 10,000 timers set", turn_nothing },
	{ "wheel-next", "when the next of 10,000 is due", next_of_many },
};

const struct micro_set micro_timers = { timers, sizeof(timers) / sizeof(timers[0]), prepare_timers };

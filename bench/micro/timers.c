/* The timer wheel: the cost of a deadline. */
#include "base/wheel.h"

#include "micro.h"

#define OTHERS 10000u
#define BEGIN_MS 1000000u
#define SLOT_MS 8u

static struct wheel wheel, alone;
static struct timer one, others[OTHERS];
static uint64_t now_ms;
static unsigned fired;

static void count_fired(struct timer *t)
{
	(void)t;
	fired++;
}

/* Timers in all slots; the time of their wheel does not advance, so none of them fires. */
static void start_others(void)
{
	for (unsigned i = 0; i < OTHERS; i++) {
		timer_init(&others[i], count_fired);
		timer_set(&wheel, &others[i], now_ms + 60000 + i * 40);
	}
}

static void prepare_timers(void)
{
	now_ms = BEGIN_MS;
	wheel_init(&wheel, now_ms);
	wheel_init(&alone, now_ms);
	timer_init(&one, count_fired);
	start_others();
}

static void set_stop(unsigned n)
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

static void set_fire(unsigned n)
{
	uint64_t time_ms = alone.now_ms;
	unsigned before = fired;

	for (unsigned i = 0; i < n; i++) {
		timer_set(&alone, &one, time_ms + SLOT_MS);
		time_ms += 2 * (uint64_t)SLOT_MS;
		wheel_expire(&alone, time_ms);
	}
	micro_must(fired == before + n, "a timer that fires");
}

/* A tick is much shorter than a slot: in most ticks the wheel does not advance. */
static void tick_within_slot(unsigned n)
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
	{ "wheel-set-stop", "set and stop a timer", set_stop },
	{ "wheel-move", "move a deadline later", move_later },
	{ "wheel-fire", "set a timer, advance two slots, fire it", set_fire },
	{ "wheel-tick", "a tick within a slot, 10,000 timers set", tick_within_slot },
	{ "wheel-next", "find the next deadline of 10,000", next_of_many },
};

const struct micro_set micro_timers = { timers, sizeof(timers) / sizeof(timers[0]),
					prepare_timers, NULL };

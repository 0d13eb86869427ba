#include "split.h"

#include "base/hash.h"
#include "proxy/action.h"

#define PLACE_DIGITS 8

unsigned split_part(const struct config_split *s, uint32_t place)
{
	uint64_t at = (uint64_t)place * s->weights >> 32;
	unsigned i = 0;

	while (at >= s->parts[i].weight)
		at -= s->parts[i++].weight;
	return s->parts[i].upstream;
}

static uint32_t place_of(const struct config_proxy *p, const struct request_view *view,
			 struct random *random, struct place_cookie *cookie)
{
	uint64_t number = p->split->by.part_n > 0 ? action_hash_of(&p->split->by, view)
						  : 0;

	if (number != 0)
		return (uint32_t)(hash_mix(number) >> 32);
	if (p->split_cookie[0] == '\0')
		return (uint32_t)random_next(random);
	if (!cookie_number(view, p->split_cookie, PLACE_DIGITS, &number)) {
		number = random_next(random) >> 32;
		*cookie = (struct place_cookie){ p->split_cookie, (uint32_t)number };
	}
	return (uint32_t)number;
}

unsigned split_choose(const struct config_proxy *p, const struct request_view *view,
		      struct random *random, struct place_cookie *cookie)
{
	cookie->name = NULL;
	return split_part(p->split, place_of(p, view, random, cookie));
}

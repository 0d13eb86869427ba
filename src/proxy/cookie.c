#include "proxy/cookie.h"

#include <inttypes.h>
#include <stdio.h>

#include "route/variable.h"

static int digit_of(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool cookie_number(const struct request_view *view, const char *name, unsigned digits,
		   uint64_t *number)
{
	struct slice value;

	if (!variable_value(VARIABLE_COOKIE, slice_of(name), view, NULL, 0, &value) ||
	    value.len != digits)
		return false;
	*number = 0;
	for (unsigned i = 0; i < digits; i++) {
		int digit = digit_of(value.ptr[i]);

		if (digit < 0)
			return false;
		*number = *number << 4 | (unsigned)digit;
	}
	return true;
}

struct slice cookie_of_place(char text[COOKIE_TEXT_MAX], const struct place_cookie *c,
			     bool secure)
{
	int n = snprintf(text, COOKIE_TEXT_MAX,
			 "%s=%08" PRIx32 "; Path=/; HttpOnly; SameSite=Lax%s", c->name,
			 c->place, secure ? "; Secure" : "");

	ASSERT(n > 0 && n < COOKIE_TEXT_MAX);
	return (struct slice){ text, (size_t)n };
}

struct slice cookie_of_server(char text[COOKIE_TEXT_MAX], const struct config_sticky *s,
			      uint64_t server, bool secure)
{
	static const char *const same_site[] = { "Lax", "Strict", "None" };
	int n = snprintf(text, COOKIE_TEXT_MAX,
			 "%s=%016" PRIx64 "; Path=%.*s; HttpOnly; SameSite=%s%s",
			 s->cookie, server, SLICE_ARG(s->path), same_site[s->same_site],
			 secure ? "; Secure" : "");

	if (s->max_age_ms > 0)
		n += snprintf(text + n, COOKIE_TEXT_MAX - (size_t)n, "; Max-Age=%" PRIu64,
			      s->max_age_ms / 1000);
	ASSERT(n > 0 && n < COOKIE_TEXT_MAX);
	return (struct slice){ text, (size_t)n };
}

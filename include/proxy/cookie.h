/* Cookies that fairlead sets: of `sticky` and `split_cookie`. Pure. */
#ifndef PROXY_COOKIE_H
#define PROXY_COOKIE_H

#include "config/config.h"
#include "route/route.h"

/* Longest value of a Set-Cookie field: name, value, Path and the other attributes. */
#define COOKIE_TEXT_MAX (CONFIG_COOKIE_MAX + CONFIG_COOKIE_PATH_MAX + 128)

/* The cookie of a `split`. */
struct place_cookie {
	const char *name; /* NULL: none */
	uint32_t place;
};

/* The number in a cookie of the request, of `digits` hexadecimal digits. False: there is no such
 * cookie, or no such number in it. */
bool cookie_number(const struct request_view *view, const char *name, unsigned digits,
		   uint64_t *number);

/* Write the value of a Set-Cookie field. `secure`: the client uses HTTPS. */
struct slice cookie_of_place(char text[COOKIE_TEXT_MAX], const struct place_cookie *c, bool secure);
struct slice cookie_of_server(char text[COOKIE_TEXT_MAX], const struct config_sticky *s,
			      uint64_t server, bool secure);

#endif

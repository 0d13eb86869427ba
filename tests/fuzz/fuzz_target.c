/* Request targets, Host and paths. An input is "METHOD TARGET", LF, and a Host. The router sees
 * one normal form, so that no spelling avoids a route; a second implementation of RFC 3986 6.2.2
 * gives the same form. */
#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "config/config.h"
#include "http/path.h"
#include "lib/fuzz.h"
#include "lib/strict.h"
#include "route/route.h"

static const char config_text[] = "listen: [127.0.0.1:80]\n"
				  "upstreams: { a: { servers: [127.0.0.1:1] } }\n"
				  "routes:\n"
				  "  - { path: /exact, proxy: { upstream: a } }\n"
				  "  - { prefix: /admin, host: app, proxy: { upstream: a } }\n"
				  "  - { prefix: /b/, proxy: { upstream: a } }\n"
				  "  - { prefix: /, host: app, proxy: { upstream: a } }\n";

/* ---- the second implementation ---------------------------------------------- */

static int nibble(char c)
{
	return isdigit((unsigned char)c) ? c - '0' : toupper((unsigned char)c) - 'A' + 10;
}

/* The "%" of the path are well-formed. */
static char *unescape_unreserved(struct slice path)
{
	char *out = malloc(path.len + 1), *at = out;

	for (size_t i = 0; i < path.len; i++) {
		int c = (unsigned char)path.ptr[i];

		if (c == '%') {
			c = nibble(path.ptr[i + 1]) << 4 | nibble(path.ptr[i + 2]);
			i += 2;
			if (c > 0x7f || (!isalnum(c) && (c == 0 || !strchr("-._~", c)))) {
				at += sprintf(at, "%%%02X", (unsigned)c);
				continue;
			}
		}
		*at++ = (char)c;
	}
	*at = '\0';
	return out;
}

/* remove_dot_segments, RFC 3986 5.2.4, letter by letter. */
static char *without_dots(const char *in)
{
	char *out = malloc(strlen(in) + 2), *at = out;

	while (*in) {
		if (strncmp(in, "/./", 3) == 0) {
			in += 2;
		} else if (strcmp(in, "/.") == 0) {
			*at++ = '/';
			break;
		} else if (strncmp(in, "/../", 4) == 0 || strcmp(in, "/..") == 0) {
			while (at > out && *--at != '/')
				;
			in += 3;
			if (!*in)
				*at++ = '/';
		} else {
			*at++ = *in++;
			while (*in && *in != '/')
				*at++ = *in++;
		}
	}
	*at = '\0';
	return out;
}

static void check_path(struct slice path, struct slice normal)
{
	char *spelled = unescape_unreserved(path), *expected = without_dots(spelled);
	char *again = malloc(normal.len + 1);

	ASSERT(slice_equal(normal, slice_of(expected)));
	ASSERT(path_normalize(again, normal) == normal.len);
	ASSERT(memcmp(again, normal.ptr, normal.len) == 0);
	ASSERT(normal.len > 0 && normal.ptr[0] == '/');
	free(again);
	free(expected);
	free(spelled);
}

/* ---- routes ----------------------------------------------------------------- */

static int expected_route(const char *path, const char *host)
{
	bool app = strcmp(host, "app") == 0;

	if (strcmp(path, "/exact") == 0)
		return 0;
	if (app && strncmp(path, "/admin", 6) == 0 && (path[6] == '/' || !path[6]))
		return 1;
	if (strncmp(path, "/b/", 3) == 0)
		return 2;
	return app ? 3 : -1;
}

static void check_route(const struct config *c, struct request_view *v)
{
	const struct config_route *r = route_match(c, v, 0);
	char *path = strndup(v->path.ptr, v->path.len);
	char *host = strndup(v->host.ptr, v->host.len);

	ASSERT((r ? (int)(r - c->routes) : -1) == expected_route(path, host));
	free(path);
	free(host);
}

/* An IPv6 address in any spelling becomes "[ADDRESS]" in the one of inet_ntop(). */
static void check_address(struct slice authority, struct slice host)
{
	char text[64];
	struct in6_addr received, seen;
	const char *close = memchr(authority.ptr, ']', authority.len);

	snprintf(text, sizeof(text), "%.*s", (int)(close - authority.ptr - 1), authority.ptr + 1);
	ASSERT(inet_pton(AF_INET6, text, &received) == 1);
	snprintf(text, sizeof(text), "%.*s", (int)host.len - 2, host.ptr + 1);
	ASSERT(inet_pton(AF_INET6, text, &seen) == 1);
	ASSERT(memcmp(&received, &seen, sizeof(seen)) == 0);
	inet_ntop(AF_INET6, &received, text, sizeof(text));
	ASSERT(slice_equal(slice_of(text), (struct slice){ host.ptr + 1, host.len - 2 }));
}

/* The host is the authority in lower case, without port and without the final dot. */
static void check_host(struct slice authority, struct slice host)
{
	const char *colon = authority.len > 0 ? memrchr(authority.ptr, ':', authority.len) : NULL;
	char *spelled;
	size_t n;

	if (authority.len > 0 && authority.ptr[0] == '[') {
		check_address(authority, host);
		return;
	}
	if (colon)
		authority.len = (size_t)(colon - authority.ptr);
	spelled = unescape_unreserved(authority);
	n = strlen(spelled);
	n -= n > 1 && spelled[n - 1] == '.';
	ASSERT(host.len == n);
	for (size_t i = 0; i < n; i++) {
		unsigned stays = spelled[i] == '%' ? 3 : 0;

		ASSERT(memcmp(host.ptr + i, spelled + i, stays) == 0);
		i += stays > 0 ? stays - 1 : 0;
		ASSERT(stays > 0 || host.ptr[i] == tolower((unsigned char)spelled[i]));
	}
	free(spelled);
}

/* ---- decoding --------------------------------------------------------------- */

static void check_decode(struct slice text, bool plus)
{
	char *out = malloc(text.len + 1);
	long n = path_decode(out, text, plus), at = 0;

	for (size_t i = 0; i < text.len; i++, at++) {
		int c = (unsigned char)text.ptr[i];

		if (c == '%') {
			if (text.len - i < 3 || !isxdigit((unsigned char)text.ptr[i + 1]) ||
			    !isxdigit((unsigned char)text.ptr[i + 2])) {
				ASSERT(n == -1);
				free(out);
				return;
			}
			c = nibble(text.ptr[i + 1]) << 4 | nibble(text.ptr[i + 2]);
			i += 2;
		} else if (plus && c == '+') {
			c = ' ';
		}
		ASSERT(n == -1 || (unsigned char)out[at] == c);
	}
	ASSERT(n == at);
	free(out);
}

/* ---- a request -------------------------------------------------------------- */

static void check_request(const struct config *c, const struct head *h)
{
	size_t room = h->path.len + h->authority.len + HOST_GROWTH;
	char *scratch = malloc(room + 1);
	struct request_view v;

	fuzz_forbid(scratch + room, scratch + room + 1);
	request_view_init(&v, h, SLICE("192.0.2.1"), scratch);
	check_host(h->authority, v.host);
	if (h->target_form == TARGET_AUTHORITY) {
		ASSERT(v.path.len == 0);
	} else if (slice_equal(h->path, SLICE("*"))) {
		ASSERT(h->method == METHOD_OPTIONS && slice_equal(v.path, h->path));
	} else {
		check_path(h->path, v.path);
		check_route(c, &v);
		ASSERT(h->path.ptr[0] == '/');
	}
	free(scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	static struct config *config;
	static struct head h;
	static struct strict_head strict;
	const struct head_limits limits = { 16384, 10, 0 };
	struct fuzz f = fuzz_begin(bytes, n);
	struct slice line = fuzz_take_until(&f, SLICE("\n")), host = fuzz_rest(&f);
	uint32_t scanned = 0;
	enum verdict v;
	char *head;
	int len;

	if (!config)
		config = config_read_text("fuzz", slice_of(config_text), stderr);
	check_decode(line, false);
	check_decode(line, true);
	head = malloc(n + 64);
	len = sprintf(head, "%.*s HTTP/1.1\r\nHost: %.*s\r\n\r\n", SLICE_ARG(line),
		      SLICE_ARG(host));
	v = head_parse_request(&h, head, (size_t)len, &limits, &scanned);
	if (v == VERDICT_OK) {
		ASSERT(strict_request(&strict, (struct slice){ head, (size_t)len }) == STRICT_OK);
		ASSERT(slice_equal(strict.authority, h.authority));
		ASSERT(slice_equal(strict.target, h.target));
		check_request(config, &h);
	}
	free(head);
	return 0;
}

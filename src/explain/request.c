#include "request.h"

#include <stdlib.h>

/* Splits the URL. NULL, or what is wrong with it. */
static const char *url_split(const char *url, bool *https, struct slice *host,
			     struct slice *target)
{
	struct slice rest = slice_of(url);
	size_t n;

	*https = slice_starts(rest, SLICE("https://"));
	if (!*https && !slice_starts(rest, SLICE("http://")))
		return "the URL does not begin with http:// or https://; write the whole URL, in "
		       "quotes if it has a '&'";
	rest = slice_after(rest, *https ? 8 : 7);
	n = strcspn(rest.ptr, "/?#");
	*host = (struct slice){ rest.ptr, n };
	*target = slice_after(rest, n);
	target->len = strcspn(target->ptr, "#");
	return n > 0 ? NULL : "the URL has no host; write http://HOST/PATH";
}

static bool is_host(const char *field)
{
	return strncasecmp(field, "host:", 5) == 0;
}

/* False: it is too long. */
static bool text_write(struct explained *q, const struct explain_request *r,
		       struct slice host, struct slice target)
{
	FILE *out = fmemopen(q->text, sizeof(q->text), "w");
	bool given = false, written;

	if (!out)
		return false;
	for (unsigned i = 0; i < r->field_n; i++)
		given |= is_host(r->fields[i]);
	fprintf(out, "%s %s%.*s HTTP/1.1\r\n", r->method,
		target.len == 0 || target.ptr[0] == '?' ? "/" : "", SLICE_ARG(target));
	if (!given)
		fprintf(out, "Host: %.*s\r\n", SLICE_ARG(host));
	for (unsigned i = 0; i < r->field_n; i++)
		fprintf(out, "%s\r\n", r->fields[i]);
	fputs("\r\n", out);
	written = fflush(out) == 0 && ftell(out) < (long)sizeof(q->text);
	fclose(out);
	return written;
}

static bool is_trusted(const struct config *c, const char *client)
{
	struct ip ip;

	if (!ip_parse(&ip, slice_of(client)))
		return c->trust.unix_sockets;
	return ip_ranges_contain(c->trust.ranges, c->trust.range_n, &ip);
}

/* What is not known without a handshake stays without value. */
static void tls_make(struct explained *q, bool https)
{
	if (!https)
		return;
	q->tls = (struct client_tls){ .version = SLICE("TLSv1.3"),
				      .sni = q->view.host,
				      .alpn = SLICE("http/1.1"),
				      .resumed = SLICE("false") };
	q->view.tls = &q->tls;
}

const char *request_make(struct explained *q, const struct config *c,
			 const struct explain_request *r)
{
	const struct head_limits limits = { .bytes = c->limits.request_head,
					    .fields = c->limits.headers };
	struct slice host, target;
	uint32_t scanned = 0;
	struct ip ip;
	bool https;
	const char *wrong = url_split(r->url, &https, &host, &target);

	if (wrong)
		return wrong;
	if (strcmp(r->client, "unix") != 0 && !ip_parse(&ip, slice_of(r->client)))
		return "--client is not an IP address; write an address, or unix";
	if (!text_write(q, r, host, target))
		return "the request is longer than 64 KiB; shorten it";
	q->fault = FAULT_NONE;
	if (head_parse_request(&q->head, q->text, strlen(q->text), &limits, &scanned) !=
	    VERDICT_OK) {
		q->fault = q->head.fault;
		return NULL;
	}
	q->peer = (struct forwarding_peer){ .text = slice_of(r->client),
					    .https = https,
					    .trusted = is_trusted(c, r->client),
					    .proxies = c->trust.ranges,
					    .proxy_n = c->trust.range_n };
	forwarding_read(&q->forwarding, &q->head, &q->peer);
	request_view_init(&q->view, &q->head, q->forwarding.client, q->scratch);
	q->view.forwarding = &q->forwarding;
	tls_make(q, https);
	return NULL;
}

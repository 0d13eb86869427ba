#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "http/forwarding.h"

static const struct head_limits limits = { 65536, HEAD_FIELDS_MAX, 0 };
static struct head head;
static struct forwarding forwarding;
static char out[65536], in[65536];
/* 10.0.0.0/8 and fd00::/8. */
static struct ip_range proxies[2];

static const struct forwarding_peer untrusted = { .text = { "203.0.113.9", 11 },
						 .proxies = proxies, .proxy_n = 2 };
static const struct forwarding_peer proxy = { .text = { "10.0.0.9", 8 }, .trusted = true,
					      .proxies = proxies, .proxy_n = 2 };
static const struct forwarding_peer by_unix = { .text = { "unix", 4 }, .trusted = true,
						.proxies = proxies, .proxy_n = 2 };

static const struct forwarding_peer by_https = { .text = { "203.0.113.9", 11 }, .https = true };
static const struct forwarding_peer proxy_by_https = { .text = { "10.0.0.9", 8 },
						       .trusted = true, .https = true,
						       .proxies = proxies, .proxy_n = 2 };

static const struct forwarding_peer with_certificate = {
	.text = { "203.0.113.9", 11 }, .https = true, .certificate = { ":YQ==:", 6 },
	.chain = { ":Yg==:", 6 },
};
static const struct forwarding_peer proxy_with_certificate = {
	.text = { "10.0.0.9", 8 }, .trusted = true, .certificate = { ":YQ==:", 6 },
	.proxies = proxies, .proxy_n = 2,
};

static int parse_ranges(void **state)
{
	struct ip v4, v6;

	(void)state;
	assert_true(ip_parse(&v4, SLICE("10.0.0.0")) && ip_parse(&v6, SLICE("fd00::")));
	proxies[0] = ip_network(&v4, 8);
	proxies[1] = ip_network(&v6, 8);
	assert_int_equal(ip_ranges_sort(proxies, 2), 2);
	return 0;
}

static void parse(const char *fields)
{
	uint32_t scanned = 0;
	int n = snprintf(in, sizeof(in), "GET / HTTP/1.1\r\nHost: h:81\r\n%s\r\n", fields);

	assert_int_equal(head_parse_request(&head, in, (size_t)n, &limits, &scanned), VERDICT_OK);
}

/* The fields that are written for these: first those forwarded as received, then our own, in an
 * area of the size of the head plus forwarding_max(). */
static const char *written(const char *fields, const struct forwarding_peer *peer, bool rfc7239)
{
	struct sink s = sink_http1(out, sizeof(out) - 1), own;

	parse(fields);
	forwarding_read(&forwarding, &head, peer);
	for (unsigned i = 0; i < head.field_n; i++)
		if (!head.fields[i].per_hop && head.fields[i].header != HEADER_HOST &&
		    forwarding_keeps(&forwarding, &head.fields[i]))
			sink_field(&s, head.fields[i].name, head.fields[i].value);
	own = sink_http1(s.out.at, head.bytes + forwarding_max(&head, &forwarding));
	assert_true(own.out.end <= s.out.end);
	forwarding_emit(&own, &head, &forwarding, rfc7239);
	assert_false(own.out.overflow);
	*own.out.at = '\0';
	return out;
}

#define ORIGINAL(proto, host, port) \
	"X-Forwarded-Proto: " proto "\r\nX-Forwarded-Host: " host "\r\nX-Forwarded-Port: " port "\r\n"
#define OURS ORIGINAL("http", "h:81", "81")

static const struct forwarding_case {
	const struct forwarding_peer *peer;
	const char *in, *client, *out;
} cases[] = {
	/* An untrusted peer. */
	{ &untrusted, "", "203.0.113.9", "X-Forwarded-For: 203.0.113.9\r\n" OURS },
	{ &untrusted,
	  "A: b\r\nX-Forwarded-For: 1.1.1.1\r\nForwarded: for=1.1.1.1\r\nx_forwarded_for: 1\r\n"
	  "X-FORWARDED-PROTO: https\r\nX-Forwarded-Host: e\r\nX-Forwarded-Port: 9\r\n"
	  "X-Forwarded-Prefix: /\r\nX-Forwarded-Server: e\r\nX-Real-IP: 1.1.1.1\r\nB: c\r\n",
	  "203.0.113.9", "A: b\r\nB: c\r\nX-Forwarded-For: 203.0.113.9\r\n" OURS },
	{ &by_https, "X-Forwarded-Proto: http\r\nX-Forwarded-Port: 9\r\n", "203.0.113.9",
	  "X-Forwarded-For: 203.0.113.9\r\n" ORIGINAL("https", "h:81", "81") },
	/* A certificate that a client has not presented in the handshake is none. */
	{ &untrusted, "Client-Cert: :AAAA:\r\nclient_cert: x\r\nClient-Cert-Chain: :AA==:\r\n"
	  "Client.Cert.Chain: x\r\nClient-Certs: y\r\n", "203.0.113.9",
	  "Client-Certs: y\r\nX-Forwarded-For: 203.0.113.9\r\n" OURS },
	{ &proxy, "Client-Cert: :AAAA:\r\nClient_Cert: x\r\n", "10.0.0.9",
	  "Client-Cert: :AAAA:\r\nX-Forwarded-For: 10.0.0.9\r\n" OURS },
	/* One that it has presented is; also instead of what a trusted proxy says of others. */
	{ &with_certificate, "Client-Cert: :AAAA:\r\n", "203.0.113.9",
	  "X-Forwarded-For: 203.0.113.9\r\n" ORIGINAL("https", "h:81", "81")
	  "Client-Cert: :YQ==:\r\nClient-Cert-Chain: :Yg==:\r\n" },
	{ &proxy_with_certificate, "client-cert: :AAAA:\r\nClient-Cert-Chain: :AAAA:\r\n", "10.0.0.9",
	  "X-Forwarded-For: 10.0.0.9\r\n" OURS "Client-Cert: :YQ==:\r\n" },
	/* A trusted proxy knows how the client came; its own connection is another matter. */
	{ &proxy_by_https, "X-Forwarded-Proto: http\r\n", "10.0.0.9",
	  "X-Forwarded-For: 10.0.0.9\r\n" OURS },
	/* A proxy without these fields is the client. */
	{ &proxy, "", "10.0.0.9", "X-Forwarded-For: 10.0.0.9\r\n" OURS },
	{ &by_unix, "", "unix", "X-Forwarded-For: unix\r\n" OURS },
	/* A TLS terminator. */
	{ &proxy, "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-Proto: https\r\n", "1.1.1.1",
	  "X-Forwarded-For: 1.1.1.1, 10.0.0.9\r\n" ORIGINAL("https", "h:81", "81") },
	{ &proxy, "X-Forwarded-Host: a.example\r\nX-Forwarded-Proto: https\r\n", "10.0.0.9",
	  "X-Forwarded-For: 10.0.0.9\r\n" ORIGINAL("https", "a.example", "443") },
	{ &proxy, "X-Forwarded-Port: 8443\r\nX-Forwarded-Proto: wss\r\n", "10.0.0.9",
	  "X-Forwarded-For: 10.0.0.9\r\n" ORIGINAL("wss", "h:81", "8443") },
	{ &by_unix, "X-Forwarded-For: 1.1.1.1\r\n", "1.1.1.1",
	  "X-Forwarded-For: 1.1.1.1\r\n" OURS },
	/* Its other fields are forwarded, except under names that proxies do not
	 * filter. */
	{ &proxy, "X-Real-IP: 1.1.1.1\r\nX-Forwarded-Prefix: /p\r\nX-Real_IP: 2\r\n"
	  "X_Forwarded_Prefix: /q\r\nX.Forwarded.For: 3\r\nX-Forwarded-Server: s\r\n",
	  "10.0.0.9", "X-Real-IP: 1.1.1.1\r\nX-Forwarded-Prefix: /p\r\nX-Forwarded-Server: s\r\n"
	  "X-Forwarded-For: 10.0.0.9\r\n" OURS },
	/* An address field that names another client than X-Forwarded-For is dropped. */
	{ &proxy, "X-Forwarded-For: 1.1.1.1\r\nX-Real-IP: 1.1.1.1\r\nTrue-Client-IP: 6.6.6.6\r\n"
	  "Client-IP: \r\nX-Client-IP: ::ffff:1.1.1.1\r\nX-Scheme: https\r\n", "1.1.1.1",
	  "X-Real-IP: 1.1.1.1\r\nX-Client-IP: ::ffff:1.1.1.1\r\nX-Scheme: https\r\n"
	  "X-Forwarded-For: 1.1.1.1, 10.0.0.9\r\n" OURS },
	{ &proxy, "X-Real-IP: 6.6.6.6\r\nForwarded: for=1.1.1.1\r\n", "1.1.1.1",
	  "X-Forwarded-For: 1.1.1.1, 10.0.0.9\r\n" OURS
	  "Forwarded: for=1.1.1.1, for=10.0.0.9;host=\"h:81\";proto=http\r\n" },
	/* From the end past trusted addresses; members before the client are dropped. */
	{ &proxy, "X-Forwarded-For: 6.6.6.6, 1.1.1.1, 10.0.0.1,10.0.0.2\r\n", "1.1.1.1",
	  "X-Forwarded-For: 1.1.1.1, 10.0.0.1, 10.0.0.2, 10.0.0.9\r\n" OURS },
	{ &proxy, "X-Forwarded-For: 6.6.6.6,1.1.1.1\r\nA: b\r\nx-forwarded-for: , ,10.0.0.1,\r\n"
	  "X-Forwarded-For:\r\n", "1.1.1.1",
	  "A: b\r\nX-Forwarded-For: 1.1.1.1, 10.0.0.1, 10.0.0.9\r\n" OURS },
	{ &proxy, "X-Forwarded-For: 10.0.0.1, fd00::1, ::ffff:10.0.0.3\r\n", "10.0.0.1",
	  "X-Forwarded-For: 10.0.0.1, fd00::1, ::ffff:10.0.0.3, 10.0.0.9\r\n" OURS },
	/* Ports and brackets. */
	{ &proxy, "X-Forwarded-For: 1.1.1.1:99, [fd00::1]:80, [fd00::2]\r\n", "1.1.1.1",
	  "X-Forwarded-For: 1.1.1.1:99, [fd00::1]:80, [fd00::2], 10.0.0.9\r\n" OURS },
	{ &proxy, "X-Forwarded-For: 2001:DB8:0::1\r\n", "2001:db8::1",
	  "X-Forwarded-For: 2001:DB8:0::1, 10.0.0.9\r\n" OURS },
	/* A member that is not an address ends the walk. */
	{ &proxy, "X-Forwarded-For: 1.1.1.1, unknown, 10.0.0.1\r\n", "10.0.0.1",
	  "X-Forwarded-For: 10.0.0.1, 10.0.0.9\r\n" OURS },
	{ &proxy, "X-Forwarded-For: 1.1.1.1, 2.2.2.2:99999\r\n", "10.0.0.9",
	  "X-Forwarded-For: 10.0.0.9\r\n" OURS },
	{ &proxy, "X-Forwarded-For: 1.1.1.1, [10.0.0.1]\r\n", "10.0.0.9",
	  "X-Forwarded-For: 10.0.0.9\r\n" OURS },
	{ &proxy, "X-Forwarded-For: 1.1.1.1, fe80::1%eth0\r\n", "10.0.0.9",
	  "X-Forwarded-For: 10.0.0.9\r\n" OURS },
	{ &proxy, "X-Forwarded-For: 1.1.1.1 10.0.0.1\r\n", "10.0.0.9",
	  "X-Forwarded-For: 10.0.0.9\r\n" OURS },
	{ &proxy, "X-Forwarded-For: 1.1.1.1\r\nConnection: X-Forwarded-For\r\n", "10.0.0.9",
	  "X-Forwarded-For: 10.0.0.9\r\n" OURS },
	/* The other fields may be lists as well. */
	{ &proxy, "X-Forwarded-For: 6.6.6.6, 1.1.1.1, 10.0.0.1\r\n"
	  "X-Forwarded-Proto: gopher, https, http\r\nX-Forwarded-Host: e, a:8, i\r\n", "1.1.1.1",
	  "X-Forwarded-For: 1.1.1.1, 10.0.0.1, 10.0.0.9\r\n" ORIGINAL("https", "a:8", "8") },
	{ &proxy, "X-Forwarded-For: 6.6.6.6, 1.1.1.1\r\nX-Forwarded-Proto: https\r\n"
	  "X-Forwarded-Proto: http\r\n", "1.1.1.1",
	  "X-Forwarded-For: 1.1.1.1, 10.0.0.9\r\n" OURS },
	{ &proxy, "X-Forwarded-Proto: ht tp\r\nX-Forwarded-Host: a b\r\nX-Forwarded-Port: 0\r\n",
	  "10.0.0.9", "X-Forwarded-For: 10.0.0.9\r\n" OURS },
	/* Forwarded. */
	{ &proxy, "Forwarded: for=6.6.6.6, For=\"[2001:db8::1]:4711\";Proto=https;by=x;host=a;,"
	  "for=10.0.0.1\r\n", "2001:db8::1",
	  "X-Forwarded-For: 2001:db8::1, 10.0.0.1, 10.0.0.9\r\n" ORIGINAL("https", "a", "443")
	  "Forwarded: For=\"[2001:db8::1]:4711\";Proto=https;by=x;host=a;,for=10.0.0.1, "
	  "for=10.0.0.9;host=\"h:81\";proto=http\r\n" },
	{ &proxy, "Forwarded: for=\"1.1.1.1:_p\" ; secret=\"a,b;for=9.9.9.9\\\"\"\r\n"
	  "Forwarded:\r\nforwarded: for=10.0.0.1\r\n", "1.1.1.1",
	  "X-Forwarded-For: 1.1.1.1, 10.0.0.1, 10.0.0.9\r\n" OURS
	  "Forwarded: for=\"1.1.1.1:_p\" ; secret=\"a,b;for=9.9.9.9\\\"\", for=10.0.0.1, "
	  "for=10.0.0.9;host=\"h:81\";proto=http\r\n" },
	{ &by_unix, "Forwarded: for=1.1.1.1;host=\"a:8\"\r\n", "1.1.1.1",
	  "X-Forwarded-For: 1.1.1.1\r\n" ORIGINAL("http", "a:8", "8")
	  "Forwarded: for=1.1.1.1;host=\"a:8\", for=unknown;host=\"h:81\";proto=http\r\n" },
	{ &proxy, "Forwarded: for=1.1.1.1, for=unknown\r\n", "10.0.0.9",
	  "X-Forwarded-For: 10.0.0.9\r\n" OURS },
	{ &proxy, "Forwarded: for=1.1.1.1, for=_hidden, for=10.0.0.1\r\n", "10.0.0.1",
	  "X-Forwarded-For: 10.0.0.1, 10.0.0.9\r\n" OURS
	  "Forwarded: for=10.0.0.1, for=10.0.0.9;host=\"h:81\";proto=http\r\n" },
	{ &proxy, "Forwarded: for=1.1.1.1, proto=https\r\n", "10.0.0.9",
	  "X-Forwarded-For: 10.0.0.9\r\n" OURS },
	/* A malformed Forwarded is ignored. */
	{ &proxy, "Forwarded: for=1.1.1.1, for=\"10.0.0.1\r\n", "10.0.0.9",
	  "X-Forwarded-For: 10.0.0.9\r\n" OURS },
	{ &proxy, "Forwarded: for=1.1.1.1 for=10.0.0.1\r\n", "10.0.0.9",
	  "X-Forwarded-For: 10.0.0.9\r\n" OURS },
	{ &proxy, "Forwarded: for=1.1.1.1;for=2.2.2.2\r\n", "10.0.0.9",
	  "X-Forwarded-For: 10.0.0.9\r\n" OURS },
	{ &proxy, "Forwarded: 1.1.1.1\r\n", "10.0.0.9", "X-Forwarded-For: 10.0.0.9\r\n" OURS },
	{ &proxy, "Forwarded: for=\r\n", "10.0.0.9", "X-Forwarded-For: 10.0.0.9\r\n" OURS },
	/* Both fields. */
	{ &proxy, "X-Forwarded-For: 1.1.1.1\r\nForwarded: for=1.1.1.1;proto=https;host=a\r\n",
	  "1.1.1.1", "X-Forwarded-For: 1.1.1.1, 10.0.0.9\r\n" ORIGINAL("https", "a", "443")
	  "Forwarded: for=1.1.1.1;proto=https;host=a, for=10.0.0.9;host=\"h:81\";proto=http\r\n" },
	{ &proxy, "X-Forwarded-For: 1.1.1.1\r\nForwarded: for=6.6.6.6;proto=https\r\n",
	  "1.1.1.1", "X-Forwarded-For: 1.1.1.1, 10.0.0.9\r\n" OURS },
	{ &proxy, "X-Forwarded-For: x\r\nForwarded: for=6.6.6.6;proto=https\r\n",
	  "10.0.0.9", "X-Forwarded-For: 10.0.0.9\r\n" OURS },
};

/* With Forwarded enabled. */
static const struct forwarding_case with_forwarded[] = {
	{ &untrusted, "", "203.0.113.9",
	  "X-Forwarded-For: 203.0.113.9\r\n" OURS
	  "Forwarded: for=203.0.113.9;host=\"h:81\";proto=http\r\n" },
	{ &by_https, "", "203.0.113.9",
	  "X-Forwarded-For: 203.0.113.9\r\n" ORIGINAL("https", "h:81", "81")
	  "Forwarded: for=203.0.113.9;host=\"h:81\";proto=https\r\n" },
	{ &proxy_by_https, "X-Forwarded-For: 1.1.1.1\r\n", "1.1.1.1",
	  "X-Forwarded-For: 1.1.1.1, 10.0.0.9\r\n" ORIGINAL("https", "h:81", "81")
	  "Forwarded: for=1.1.1.1;host=\"h:81\";proto=https, "
	  "for=10.0.0.9;host=\"h:81\";proto=https\r\n" },
	{ &by_unix, "", "unix",
	  "X-Forwarded-For: unix\r\n" OURS "Forwarded: for=unknown;host=\"h:81\";proto=http\r\n" },
	{ &proxy, "X-Forwarded-For: fd00:0::1, 10.0.0.1:80\r\nX-Forwarded-Proto: https\r\n",
	  "fd00::1",
	  "X-Forwarded-For: fd00:0::1, 10.0.0.1:80, 10.0.0.9\r\n" ORIGINAL("https", "h:81", "81")
	  "Forwarded: for=\"[fd00::1]\";host=\"h:81\";proto=https, for=10.0.0.1, "
	  "for=10.0.0.9;host=\"h:81\";proto=http\r\n" },
};

static void cases_check(const struct forwarding_case *r, size_t n, bool rfc7239)
{
	for (; n-- > 0; r++) {
		const char *got = written(r->in, r->peer, rfc7239);

		if (strcmp(got, r->out) != 0)
			fail_msg("of\n%s\nbecomes\n%s\nnot\n%s", r->in, got, r->out);
		if (!slice_equal(forwarding.client, slice_of(r->client)))
			fail_msg("of\n%s\nthe client is %.*s", r->in,
				 SLICE_ARG(forwarding.client));
	}
}

static void read_and_written(void **state)
{
	(void)state;
	cases_check(cases, COUNT(cases), false);
	cases_check(with_forwarded, COUNT(with_forwarded), true);
}

/* However long the lists are, at most FORWARDING_HOPS_MAX members are walked, and the
 * output fits. */
static void bounded(void **state)
{
	static char fields[32768];
	static const char *const addresses[] = { "fd00::", "10.0.0.1", "[fd00::1]:65535" };

	(void)state;
	for (unsigned kind = 0; kind < 6; kind++) {
		size_t n = (size_t)sprintf(fields, kind < 3 ? "X-Forwarded-For: 1.1.1.1"
							    : "Forwarded: for=1.1.1.1");

		for (unsigned i = 0; i < 500; i++)
			n += (size_t)sprintf(fields + n, kind < 3 ? ",%s" : ",for=\"%s\"",
					     addresses[kind % 3]);
		sprintf(fields + n, "\r\n");
		written(fields, &proxy, true);
		assert_int_equal(forwarding.list.hops + forwarding.elements.hops,
				 FORWARDING_HOPS_MAX);
		assert_false(slice_equal(forwarding.client, SLICE("1.1.1.1")));
	}
}

/* Writes the name with another separator, and with the case of every second letter
 * changed. */
static void spell(char *text, const char *name, char between, bool change)
{
	for (size_t i = 0; i <= strlen(name); i++)
		text[i] = name[i] == '-' ? between
			  : change && i % 2 && name[i] >= 'a' ? (char)(name[i] ^ 0x20)
							      : name[i];
}

/* Every octet that CGI maps to "-" counts as "-". */
static void every_spelling(void **state)
{
	static const char *const all[] = {
#define FORWARDING(text, prefix, address) text,
#include "http/forwarding.def"
#undef FORWARDING
		"Forwarded-For", "X-Forwarded-Prefix", "X-Forwarded-Ssl", "X-Forwarded-Server",
		"X-Original-Forwarded-For", "X-Forwarded-", "X-Forwarded-Tls-Client-Cert",
	};

	(void)state;
	for (size_t i = 0; i < COUNT(all); i++) {
		for (const char *between = "-_.~!#$%&'*+^`|"; *between; between++) {
			char line[64], name[48];
			const struct field *f;

			spell(name, all[i], *between, *between != '-' || i % 2);
			snprintf(line, sizeof(line), "%s: x\r\n", name);
			parse(line);
			f = &head.fields[1];
			assert_true(forwarding_is_field(f->name));
			forwarding_read(&forwarding, &head, &untrusted);
			assert_false(forwarding_keeps(&forwarding, f));
			forwarding_read(&forwarding, &head, &proxy);
			if (forwarding_keeps(&forwarding, f) !=
			    (!strpbrk(name, "_.~!#$%&'*+^`|") &&
			     (f->header == HEADER_OTHER)))
				fail_msg("%s", name);
		}
	}
}

static void other_names(void **state)
{
	static const char *const others[] = {
		"Forwarde", "Forwardedx", "XForwarded", "X-Forwardedx", "X-Forward", "X-Real-IPs",
		"Real-IP", "Client-IP-", "X-Schema", "Content-Type", "Cookie", "From", "TE",
		"Trailer", "X-Request-Id", "X", "f", "Cache-Control", "True-Client-I",
	};

	(void)state;
	for (size_t i = 0; i < COUNT(others); i++)
		if (forwarding_is_field(slice_of(others[i])))
			fail_msg("%s", others[i]);
}

/* RFC 9110 6.5.1: a recipient that merges trailers into the head would believe them. */
static void not_in_trailers(void **state)
{
	static const char text[] = "A: b\r\nx_real_ip: 1\r\nForwarded: for=1\r\n\r\n";
	uint32_t scanned = 0;

	(void)state;
	assert_int_equal(head_parse_trailers(&head, text, sizeof(text) - 1, &limits, &scanned),
			 VERDICT_OK);
	assert_false(head.fields[0].per_hop);
	assert_true(head.fields[1].per_hop && head.fields[2].per_hop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(read_and_written), cmocka_unit_test(bounded),
		cmocka_unit_test(every_spelling),   cmocka_unit_test(other_names),
		cmocka_unit_test(not_in_trailers),
	};

	return cmocka_run_group_tests(tests, parse_ranges, NULL);
}

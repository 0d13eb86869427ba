/* Message heads: parse and emit. */
#include "http/forward.h"
#include "http/forwarding.h"
#include "http/head.h"
#include "http/kepthead.h"
#include "micro.h"

static const char small[] = "GET /hello HTTP/1.1\r\n"
			    "Host: 127.0.0.1:8080\r\n"
			    "\r\n";

static const char browser[] =
	"GET /shop/basket?item=42&colour=green HTTP/1.1\r\n"
	"Host: www.example.org\r\n"
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
	"Accept-Language: en-US,en;q=0.5\r\n"
	"Accept-Encoding: gzip, deflate, br\r\n"
	"Referer: https://www.example.org/shop/\r\n"
	"Connection: keep-alive\r\n"
	"Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=yes\r\n"
	"Upgrade-Insecure-Requests: 1\r\n"
	"Sec-Fetch-Dest: document\r\n"
	"Sec-Fetch-Mode: navigate\r\n"
	"Sec-Fetch-Site: same-origin\r\n"
	"Sec-Fetch-User: ?1\r\n"
	"\r\n";

static const char nginx_response[] = "HTTP/1.1 200 OK\r\n"
				     "Server: nginx/1.22.1\r\n"
				     "Date: Sun, 22 Nov 2026 12:00:00 GMT\r\n"
				     "Content-Type: text/plain\r\n"
				     "Content-Length: 100\r\n"
				     "Last-Modified: Sat, 21 Nov 2026 12:00:00 GMT\r\n"
				     "Connection: keep-alive\r\n"
				     "ETag: \"64f1a2b3-64\"\r\n"
				     "Accept-Ranges: bytes\r\n"
				     "\r\n";

static const struct head_limits limits = { .bytes = 16384, .fields = 100 };
static struct head head, small_head, browser_head, nginx_head;
static char space[4096] __attribute__((aligned(8)));

static void parse_request(const char *bytes, size_t n, struct head *h)
{
	uint32_t scanned = 0;

	micro_must(head_parse_request(h, bytes, n, &limits, &scanned) == VERDICT_OK,
		   "a request");
}

static void parse_response(struct head *h)
{
	uint32_t scanned = 0;

	micro_must(head_parse_response(h, nginx_response, sizeof(nginx_response) - 1,
				       &limits, &scanned) == VERDICT_OK,
		   "a response");
}

static void parse_small(unsigned n)
{
	while (n-- > 0)
		parse_request(small, sizeof(small) - 1, &head);
}

static void parse_browser(unsigned n)
{
	while (n-- > 0)
		parse_request(browser, sizeof(browser) - 1, &head);
}

static void parse_nginx(unsigned n)
{
	while (n-- > 0)
		parse_response(&head);
}

static void forward_one(const struct head *h)
{
	static const struct forwarding_peer peer = { .text = { "192.0.2.17", 10 } };
	struct forwarding forwarding;
	const struct forward_request r = { .forwarding = &forwarding,
					   .via = SLICE("fairlead") };
	struct sink s = sink_http1(space, sizeof(space));

	forwarding_read(&forwarding, h, &peer);
	forward_request(&s, h, &r);
	micro_must(!s.out.overflow && s.out.at > space, "a request as forwarded");
	micro_keep(space);
}

static void emit_small(unsigned n)
{
	while (n-- > 0)
		forward_one(&small_head);
}

static void emit_browser(unsigned n)
{
	while (n-- > 0)
		forward_one(&browser_head);
}

static void emit_nginx(unsigned n)
{
	const struct forward_response r = { .framing = FRAMING_LENGTH,
					    .length = 100,
					    .date = SLICE(
						    "Sun, 22 Nov 2026 12:00:00 GMT"),
					    .via = SLICE("fairlead") };

	while (n-- > 0) {
		struct sink s = sink_http1(space, sizeof(space));

		forward_response(&s, &nginx_head, &r);
		micro_must(!s.out.overflow && s.out.at > space,
			   "a response as forwarded");
		micro_keep(space);
	}
}

static void emit_own(unsigned n)
{
	const struct forward_reply r = { .status = 200,
					 .content_type = SLICE("text/plain"),
					 .has_body = true,
					 .length = 3,
					 .date = SLICE("Sun, 22 Nov 2026 12:00:00 GMT") };

	while (n-- > 0) {
		struct sink s = sink_http1(space, sizeof(space));

		forward_reply(&s, &r);
		micro_must(!s.out.overflow && s.out.at > space, "a reply");
		micro_keep(space);
	}
}

static void keep(unsigned n, uint64_t which)
{
	struct kept_head *k = (void *)space;
	struct kept_choice choice;

	while (n-- > 0) {
		kept_head_choose(&choice, &browser_head, which);
		micro_must(choice.bytes <= sizeof(space), "a head to keep");
		kept_head_write(k, &choice);
		if (k->whole)
			kept_head_restore(k, &head);
		micro_keep(space);
	}
}

static void keep_logged(unsigned n)
{
	const uint64_t which = KEPT_FIELD(HEADER_REFERER) | KEPT_FIELD(HEADER_USER_AGENT);

	keep(n, which);
}

static void keep_whole(unsigned n)
{
	keep(n, KEPT_ALL);
}

static void prepare_heads(void)
{
	parse_request(small, sizeof(small) - 1, &small_head);
	parse_request(browser, sizeof(browser) - 1, &browser_head);
	parse_response(&nginx_head);
}

static const struct micro heads[] = {
	{ "parse-small", "parse a request head with Host only", parse_small },
	{ "parse-browser", "parse a browser's request head, 13 fields", parse_browser },
	{ "parse-response", "parse an nginx response head, 8 fields", parse_nginx },
	{ "keep-logged", "keep what the log shows of the browser's request",
	  keep_logged },
	{ "keep-whole", "keep the browser's request and restore its head", keep_whole },
	{ "emit-small", "emit the small request to the origin", emit_small },
	{ "emit-browser", "emit the browser's request to the origin", emit_browser },
	{ "emit-response", "emit the response to the client", emit_nginx },
	{ "emit-own", "emit the head of fairlead's own response", emit_own },
};

const struct micro_set micro_heads = { heads, sizeof(heads) / sizeof(heads[0]),
				       prepare_heads, NULL };

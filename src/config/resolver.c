#include "reader.h"
#include "value.h"

#include <arpa/inet.h>
#include <stdlib.h>

#define DNS_PORT 53
#define SERVERS_FORM "'servers: [127.0.0.1:53]', or 'servers: system'"

/* Nameservers are given by IP address: a name would need a nameserver to be resolved. */
static bool is_address(struct slice host)
{
	char text[INET6_ADDRSTRLEN], addr[sizeof(struct in6_addr)];

	if (host.len >= sizeof(text))
		return false;
	memcpy(text, host.ptr, host.len);
	text[host.len] = '\0';
	return inet_pton(AF_INET, text, addr) == 1 || inet_pton(AF_INET6, text, addr) == 1;
}

static bool take_port(struct slice text, unsigned *port)
{
	*port = 0;
	for (size_t i = 0; i < text.len && *port <= UINT16_MAX; i++) {
		if (text.ptr[i] < '0' || text.ptr[i] > '9')
			return false;
		*port = *port * 10 + (unsigned)(text.ptr[i] - '0');
	}
	return *port > 0 && *port <= UINT16_MAX;
}

/* Splits "ADDRESS", "ADDRESS:PORT", "[IPV6]" or "[IPV6]:PORT". False: it is none of these. */
static bool nameserver_split(struct slice text, struct slice *host, unsigned *port)
{
	bool in_brackets = text.len > 0 && text.ptr[0] == '[';
	const char *end;
	struct slice rest;

	*port = DNS_PORT;
	*host = text;
	if (!in_brackets && is_address(text))
		return true;
	end = in_brackets ? memchr(text.ptr, ']', text.len) : memrchr(text.ptr, ':', text.len);
	if (!end)
		return false;
	rest = slice_after(text, (size_t)(end - text.ptr) + in_brackets);
	*host = (struct slice){ text.ptr + in_brackets, (size_t)(end - text.ptr) - in_brackets };
	if (!is_address(*host) || !memchr(host->ptr, ':', host->len) != !in_brackets)
		return false;
	if (rest.len == 0)
		return true;
	return rest.ptr[0] == ':' && take_port(slice_after(rest, 1), port);
}

static const char *nameserver_text(struct config_reader *r, const struct node *n)
{
	struct slice host;
	unsigned port;

	if (!scalar_check(r, n, "ADDRESS:PORT"))
		return NULL;
	if (!nameserver_split(n->text, &host, &port)) {
		report_error(
			&r->report, n->at,
			"'%.*s' is not the address of a nameserver; write an IP address, "
			"as in 127.0.0.1:53 or \"[::1]:53\"",
			REPORT_ARG(n->text));
		return NULL;
	}
	return arena_format(&r->scratch,
			    memchr(host.ptr, ':', host.len) ? "[%.*s]:%u" : "%.*s:%u",
			    SLICE_ARG(host), port);
}

static void nameserver_add(struct config_reader *r, const struct node *n)
{
	struct config_resolver *c = &r->config->resolver;
	const char *text = nameserver_text(r, n);

	if (text)
		c->servers = arena_format(r->memory, "%s%s%s", c->servers ? c->servers : "",
					  c->servers ? "," : "", text);
}

static void nameservers_read(struct config_reader *r, const struct node *n)
{
	if (n->kind == NODE_SCALAR && slice_equal(n->text, SLICE("system")))
		return;
	if (n->kind == NODE_SCALAR) {
		nameserver_add(r, n);
	} else if (children_check(r, n, NODE_LIST, CONFIG_NAMESERVERS_MAX, SERVERS_FORM)) {
		for (const struct node *s = n->children; s; s = s->next)
			nameserver_add(r, s);
	}
}

void resolver_read(struct config_reader *r, const struct node *n)
{
	struct config_resolver *c = &r->config->resolver;
	bool is_map = n && n->kind == NODE_MAP;
	struct section_values values;

	section_read(r, is_map ? n : NULL, &section_resolver, c, &values);
	if (n && !is_map && n->kind == NODE_SCALAR && value_is_off(n->text))
		c->off = true;
	else if (n && !is_map)
		nameservers_read(r, n);
	else if (values.of[KEY_resolver_servers])
		nameservers_read(r, values.of[KEY_resolver_servers]);
	if (c->ttl_min_ms > c->ttl_max_ms)
		report_error(
			&r->report, node_pos(n),
			"'ttl_min' is longer than 'ttl_max'; write a shorter 'ttl_min', or "
			"a longer 'ttl_max'");
}

#include "config/config.h"

#include "reader.h"
#include "value.h"

static bool listen_address_read(struct config_reader *r, const struct node *n,
				struct config_address *a)
{
	const char *fault;
	unsigned n_found;

	if (!scalar_check(r, n, "HOST:PORT"))
		return false;
	fault = address_lookup(r, n->text, true, a, 1, &n_found);
	if (fault)
		report_error(&r->report, n->at, "%s", fault);
	return !fault;
}

static bool address_equal(const struct config_address *a, const struct config_address *b)
{
	return a->len == b->len && memcmp(&a->sa, &b->sa, a->len) == 0;
}

/* Reports an error if an earlier `listen` entry has the same address. */
static void listener_unique_check(struct config_reader *r, const struct node *n,
				  const struct config_address *a)
{
	const struct config *c = r->config;

	for (unsigned i = 0; i < c->listen_n; i++) {
		if (!address_equal(&c->listens[i], a))
			continue;
		report_error(
			&r->report, n->at,
			"'%s' is already used by another listener; use another address, or "
			"remove it",
			a->text);
		return;
	}
}

/* The port of "8080", ":8080" or "*:8080"; empty: the text is something else. */
static struct slice port_alone(struct slice text)
{
	struct slice port = text;

	if (slice_starts(port, SLICE("*:")))
		port = slice_after(port, 2);
	else if (slice_starts(port, SLICE(":")))
		port = slice_after(port, 1);
	for (size_t i = 0; i < port.len; i++)
		if (port.ptr[i] < '0' || port.ptr[i] > '9')
			return (struct slice){ NULL, 0 };
	return port;
}

static void listen_add(struct config_reader *r, const struct node *n,
		       enum config_half half)
{
	struct config_address *a = &r->config->listens[r->config->listen_n];

	if (!listen_address_read(r, n, a))
		return;
	a->half = (uint8_t)half;
	listener_unique_check(r, n, a);
	r->config->listen_n++;
}

/* A port without host stands for two sockets: all IPv4 and all IPv6 addresses. */
static void listen_add_dual(struct config_reader *r, const struct node *n,
			    struct slice port)
{
	static const char *const hosts[] = {
		[CONFIG_HALF_IPV4] = "0.0.0.0", [CONFIG_HALF_IPV6] = "[::]"
	};
	unsigned errors = r->report.n;

	for (int half = CONFIG_HALF_IPV4;
	     half <= CONFIG_HALF_IPV6 && r->report.n == errors; half++) {
		struct node one = *n;

		one.text = slice_of(arena_format(&r->scratch, "%s:%.*s", hosts[half],
						 REPORT_ARG(port)));
		listen_add(r, &one, (enum config_half)half);
	}
}

/* The node of the address: `n` itself, or the `address` of a map, whose other keys are read too.
 * NULL: reported. */
static const struct node *listen_address_node(struct config_reader *r,
					      const struct node *n,
					      struct section_values *values,
					      struct config_rights *rights)
{
	if (n->kind != NODE_MAP)
		return n;
	section_read(r, n, &section_listen, rights, values);
	return values->of[KEY_listen_address];
}

/* NULL: none, or reported. */
static const struct config_addresses *proxy_protocol_read(struct config_reader *r,
							  const struct node *n)
{
	struct config_address none = { NULL };
	struct section_values values;

	if (!n || !section_read(r, n, &section_proxy_protocol, &none, &values) ||
	    !values.of[KEY_proxy_protocol_from])
		return NULL;
	return addresses_read(r, values.of[KEY_proxy_protocol_from],
			      "'from: [10.0.0.0/8, unix]'");
}

/* The versions of HTTP; `n`: NULL for the default. */
static void versions_read(struct config_reader *r, const struct node *n, bool *http1, bool *http2)
{
	const struct node *list = n ? list_of(r, n) : NULL;

	if (list && !children_check(r, list, NODE_LIST, 2, "'http: [2, 1.1]'"))
		list = NULL;
	*http1 = !n;
	*http2 = false;
	for (const struct node *v = list ? list->children : NULL; v; v = v->next) {
		if (v->kind == NODE_SCALAR && slice_equal(v->text, SLICE("2")))
			*http2 = true;
		else if (v->kind == NODE_SCALAR && slice_equal(v->text, SLICE("1.1")))
			*http1 = true;
		else
			report_error(&r->report, v->at,
				     "versions of HTTP are 2 and 1.1; write 'http: [2, 1.1]'");
	}
}

static void listen_read(struct config_reader *r, const struct node *n)
{
	bool http1, http2;
	struct config *c = r->config;
	struct config_rights rights = { .paths_strict = false };
	struct section_values values = { { NULL } };
	const struct node *address = listen_address_node(r, n, &values, &rights);
	unsigned before = c->listen_n;
	struct config_tls *tls = NULL;
	const struct config_addresses *proxy_protocol =
		proxy_protocol_read(r, values.of[KEY_listen_proxy_protocol]);
	struct slice port = { NULL, 0 };

	if (!address)
		return;
	if (address->kind == NODE_SCALAR)
		port = port_alone(address->text);
	if (port.len > 0)
		listen_add_dual(r, address, port);
	else
		listen_add(r, address, CONFIG_WHOLE);
	if (c->listen_n > before && values.of[KEY_listen_tls])
		tls = listen_tls_read(r, values.of[KEY_listen_tls],
				      arena_text(r->memory, address->text));
	if (tls)
		c->tls[c->tls_n++] = tls;
	versions_read(r, values.of[KEY_listen_http], &http1, &http2);
	if (tls) {
		tls->http1 = http1;
		tls->http2 = http2;
	}
	for (unsigned i = before; i < c->listen_n; i++) {
		c->listens[i].http1 = http1;
		c->listens[i].http2 = http2;
		c->listens[i].paths_strict = rights.paths_strict;
		c->listen_tls[i] = tls;
		c->listens[i].proxy_protocol = proxy_protocol;
	}
	if (c->listen_n > before)
		rights_read(r, &values, &c->listens[before], &rights);
}

void listens_read(struct config_reader *r, const struct node *list)
{
	struct config *c = r->config;

	list = list_of(r, list);
	if (!children_check(r, list, NODE_LIST, CONFIG_LISTENS_MAX,
			    "'listen: [HOST:PORT]'"))
		return;
	c->listens = arena_alloc(r->memory, 2 * list->child_n * sizeof(c->listens[0]));
	c->listen_tls = arena_alloc(r->memory,
				    2 * list->child_n * sizeof(c->listen_tls[0]));
	c->tls = arena_alloc(r->memory, list->child_n * sizeof(c->tls[0]));
	for (const struct node *n = list->children; n; n = n->next)
		listen_read(r, n);
}

void admin_read(struct config_reader *r, const struct node *n)
{
	struct config_address *a = &r->config->admin;
	struct config_rights rights;
	struct section_values values = { { NULL } };

	n = listen_address_node(r, n, &values, &rights);
	if (values.of[KEY_listen_paths])
		report_error(
			&r->report, values.of[KEY_listen_paths]->key->at,
			"'paths' applies to routed requests, and 'admin' has no routes; "
			"remove it");
	if (values.of[KEY_listen_tls])
		report_error(
			&r->report, values.of[KEY_listen_tls]->key->at,
			"'admin' has no TLS; remove it, and write an address that only "
			"this machine reaches");
	if (values.of[KEY_listen_proxy_protocol])
		report_error(
			&r->report, values.of[KEY_listen_proxy_protocol]->key->at,
			"'proxy_protocol' is for clients of routes, and 'admin' does not ask "
			"who they are; remove it");
	r->config->has_admin = n && listen_address_read(r, n, a);
	if (!r->config->has_admin)
		return;
	listener_unique_check(r, n, a);
	rights_read(r, &values, a, &rights);
}

void control_read(struct config_reader *r, const struct node *n)
{
	struct config_address *a = &r->config->control;

	if (!listen_address_read(r, n, a))
		return;
	r->config->has_control = a->sa.ss_family == AF_UNIX;
	if (!r->config->has_control)
		report_error(&r->report, n->at,
			     "'control' must be a unix socket; write unix:/PATH");
	else
		listener_unique_check(r, n, a);
}

/* The rules `allow` and `deny`: 403 for clients by their address, which is that of the connection's
 * peer or what a trusted proxy says. */
#include "proxy/addresses.h"
#include "proxy/rule.h"

static const void *allow_read(struct config_reader *r, const struct node *n,
			      struct config_route *route)
{
	(void)route;
	return addresses_read(r, n, "'allow: [10.0.0.0/8, @GROUP]'");
}

static const void *deny_read(struct config_reader *r, const struct node *n,
			     struct config_route *route)
{
	(void)route;
	return addresses_read(r, n, "'deny: [192.0.2.0/24, @GROUP]'");
}

static void print_list(FILE *out, const char *key, const void *options)
{
	print_indent(out, ACTION_DEPTH);
	fprintf(out, "%s:\n", key);
	print_addresses(out, options, ACTION_DEPTH + 1);
}

static void allow_print(FILE *out, const struct config *c, const void *options)
{
	(void)c;
	print_list(out, "allow", options);
}

static void deny_print(FILE *out, const struct config *c, const void *options)
{
	(void)c;
	print_list(out, "deny", options);
}

/* The list has to have the client, or not. */
static enum rule_verdict check_client(const struct rule_use *u, bool wanted)
{
	if (addresses_contain(u->options, &u->exchange->client_addr) == wanted)
		return RULE_GOES_ON;
	exchange_fail(u->exchange, ENDING_ADDRESS_REFUSED);
	return RULE_ENDED;
}

static enum rule_verdict allow_check(const struct rule_use *u,
				     const struct request_view *view)
{
	(void)view;
	return check_client(u, true);
}

static enum rule_verdict deny_check(const struct rule_use *u,
				    const struct request_view *view)
{
	(void)view;
	return check_client(u, false);
}

const struct rule rule_deny = {
	.config = {
		.key = NODE_ROW(deny, "[ADDRESS or ADDRESS/BITS or @GROUP or file:PATH, …]", "none",
				"rule: addresses of clients that get 403, also if `allow` has "
				"them"),
		.read = deny_read,
		.print = deny_print,
	},
	.check = deny_check,
};

const struct rule rule_allow = {
	.config = {
		.key = NODE_ROW(allow, "[ADDRESS or ADDRESS/BITS or @GROUP or file:PATH, …]", "all",
				"rule: addresses of the only clients that may use the route; "
				"others get 403"),
		.read = allow_read,
		.print = allow_print,
	},
	.check = allow_check,
};

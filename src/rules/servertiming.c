/* The rule `server_timing`: the field Server-Timing (W3C Server Timing) in responses, with the
 * phases of the attempt whose response is sent, in milliseconds:
 *
 *   Server-Timing: queue;dur=0.120, connect;dur=0.832, response;dur=12.407, proxy;dur=13.410
 *
 * A phase that did not take place, or is not known, is left out; `proxy` is the time from the head
 * of the request to that of the response. A field of the server stays, since there may be several.
 * The times tell what is behind the proxy, so clients get none unless they are trusted proxies, or
 * the value is `all`. */
#include "proxy/exchange.h"
#include "proxy/rule.h"

struct config_server_timing {
	bool all; /* clients, not only trusted_proxies */
};

/* ---- configuration ----------------------------------------------------------- */

static const void *server_timing_read(struct config_reader *r, const struct node *n,
				      struct config_route *route)
{
	struct config_server_timing *t = arena_alloc(reader_memory(r), sizeof(*t));
	bool off = n->kind == NODE_SCALAR && slice_equal(n->text, SLICE("off"));

	(void)route;
	t->all = n->kind == NODE_SCALAR && slice_equal(n->text, SLICE("all"));
	if (off || t->all ||
	    (n->kind == NODE_SCALAR && slice_equal(n->text, SLICE("trusted"))))
		return off ? NULL : t;
	report_error(
		reader_report(r), n->at,
		"'server_timing' takes off, trusted or all; write 'server_timing: trusted'");
	return NULL;
}

static void server_timing_print(FILE *out, const struct config *c, const void *options)
{
	const struct config_server_timing *t = options;

	(void)c;
	print_indent(out, ACTION_DEPTH);
	fprintf(out, "server_timing: %s\n", t->all ? "all" : "trusted");
}

/* ---- responses ----------------------------------------------------------------- */

/* Milliseconds with three digits behind the point. */
static void put_phase(struct emit *e, const char *begin, const char *name, uint64_t us)
{
	const char digits[] = { (char)('0' + us / 100 % 10), (char)('0' + us / 10 % 10),
				(char)('0' + us % 10) };

	if (us == PHASE_UNKNOWN)
		return;
	if (e->at > begin)
		emit_slice(e, SLICE(", "));
	emit_slice(e, slice_of(name));
	emit_slice(e, SLICE(";dur="));
	emit_number(e, us / 1000);
	emit_slice(e, SLICE("."));
	emit_slice(e, (struct slice){ digits, sizeof(digits) });
}

static void server_timing_response(const struct rule_use *u,
				   const struct request_view *view, const struct head *h,
				   struct field_changes *c)
{
	const struct config_server_timing *t = u->options;
	const struct exchange *x = u->exchange;
	const struct lease_times *lease = &x->relay.times.lease;
	uint64_t now_us = x->proxy->tick->now_us;
	struct emit *e = &c->text;
	const char *begin = e->at;

	(void)view;
	(void)h;
	if (!t->all && !(x->client->trust_known && x->client->trusted))
		return;
	for (enum phase phase = PHASE_QUEUE; phase <= PHASE_TLS; phase++)
		put_phase(e, begin, phase_name(phase), lease_phase(lease, phase));
	put_phase(e, begin, phase_name(PHASE_RESPONSE),
		  lease->ready > 0 ? now_us - lease->ready : PHASE_UNKNOWN);
	put_phase(e, begin, "proxy", now_us - x->started_us);
	if (!e->overflow)
		field_add(c, SLICE("Server-Timing"),
			  (struct slice){ begin, (size_t)(e->at - begin) });
}

const struct rule rule_server_timing = {
	.config = {
		.key = NODE_ROW(server_timing, "off, trusted or all", "off",
				"rule: responses have Server-Timing with the phases of the "
				"request; trusted: only those to `trusted_proxies`; all: to every "
				"client"),
		.read = server_timing_read,
		.print = server_timing_print,
	},
	.response = server_timing_response,
};

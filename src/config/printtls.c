/* Prints `tls` of a listener, and of an upstream. */
#include "printtls.h"

#include "config/action.h"

static void print_list(FILE *out, const char *key, const struct slice *all, unsigned n,
		       unsigned depth)
{
	print_indent(out, depth);
	fprintf(out, "%s: [", key);
	for (unsigned i = 0; i < n; i++) {
		fputs(i > 0 ? ", \"" : "\"", out);
		print_quoted(out, all[i]);
		fputc('"', out);
	}
	fputs("]\n", out);
}

static void print_certificate(FILE *out, const struct config_certificate *c,
			      unsigned depth)
{
	print_indent(out, depth);
	if (c->key) {
		fputs("- ", out);
		print_text(out, "chain", slice_of(c->chain));
		print_indent(out, depth + 1);
		print_text(out, "key", slice_of(c->key));
		return;
	}
	fputs("- \"", out);
	print_quoted(out, slice_of(c->chain));
	fputs("\"\n", out);
}

static void print_policy(FILE *out, const struct config_client_auth *p, unsigned depth)
{
	print_indent(out, depth);
	fputs("-\n", out);
	if (p->name_n > 0)
		print_list(out, "names", p->names, p->name_n, depth + 1);
	if (p->ca) {
		print_indent(out, depth + 1);
		print_text(out, "ca", slice_of(p->ca->text));
	}
	if (p->crl) {
		print_indent(out, depth + 1);
		print_text(out, "crl", slice_of(p->crl->text));
	}
	print_section(out, &section_client_auth, p, depth + 1, PROTOCOL_ANY);
}

static void print_client_auth(FILE *out, const struct config_tls *t, unsigned depth)
{
	bool off = t->policy_n == 1 && t->policies[0].mode == TLS_AUTH_OFF;

	print_indent(out, depth);
	fputs(off ? "client_auth: off\n" : "client_auth:\n", out);
	for (unsigned i = 0; i < t->policy_n && !off; i++)
		print_policy(out, &t->policies[i], depth + 1);
}

static void print_tickets(FILE *out, const struct config_tls *t, unsigned depth)
{
	print_indent(out, depth);
	if (t->tickets_off) {
		fputs("tickets: off\n", out);
		return;
	}
	fputs("tickets:\n", out);
	if (t->ticket_key_n > 0) {
		print_indent(out, depth + 1);
		fputs("keys:\n", out);
	}
	for (unsigned i = 0; i < t->ticket_key_n; i++) {
		print_indent(out, depth + 2);
		fputs("- \"", out);
		print_quoted(out, slice_of(t->ticket_keys[i]->text));
		fputs("\"\n", out);
	}
	print_section(out, &section_tickets, t, depth + 1, PROTOCOL_ANY);
}

void print_tls(FILE *out, const struct config_tls *t, unsigned depth)
{
	print_indent(out, depth);
	fputs("tls:\n", out);
	depth++;
	print_indent(out, depth);
	fputs("certificates:\n", out);
	for (unsigned i = 0; i < t->certificate_n; i++)
		print_certificate(out, &t->certificates[i], depth + 1);
	if (t->group_n > 0)
		print_list(out, "groups", t->groups, t->group_n, depth);
	print_client_auth(out, t, depth);
	print_tickets(out, t, depth);
	print_section(out, &section_tls, t, depth, PROTOCOL_ANY);
}

static void print_name(FILE *out, const char *key, struct slice name, unsigned depth)
{
	print_indent(out, depth);
	if (name.len > 0)
		print_text(out, key, name);
	else
		fprintf(out, "%s: auto\n", key);
}

void print_upstream_tls(FILE *out, const struct config_upstream_tls *t, unsigned depth)
{
	const struct config_certificate *c = &t->certificate;

	print_indent(out, depth);
	fputs("tls:\n", out);
	depth++;
	print_section(out, &section_upstream_tls, t, depth, PROTOCOL_ANY);
	if (t->ca) {
		print_indent(out, depth);
		print_text(out, "ca", t->ca_system ? SLICE("system") : slice_of(t->ca->text));
	}
	print_name(out, "name", t->name, depth);
	print_name(out, "sni", t->sni_off ? SLICE("off") : t->sni, depth);
	if (t->pin_n > 0)
		print_list(out, "pins", t->pin_texts, t->pin_n, depth);
	if (!t->pair)
		return;
	print_indent(out, depth);
	if (!c->key) {
		print_text(out, "certificate", slice_of(c->chain));
		return;
	}
	fputs("certificate:\n", out);
	print_indent(out, depth + 1);
	print_text(out, "chain", slice_of(c->chain));
	print_indent(out, depth + 1);
	print_text(out, "key", slice_of(c->key));
}

#include "clienttls.h"

#include "config/tls.h"
#include "tls/session.h"

static struct slice version_text(const struct tls *t)
{
	return t->version == TLS_1_2 ? SLICE("TLSv1.2") : SLICE("TLSv1.3");
}

static struct slice protocol_text(const struct tls *t)
{
	switch ((enum tls_protocol)t->protocol) {
	case TLS_NO_PROTOCOL:
		break;
	case TLS_HTTP_1_1:
		return SLICE("http/1.1");
	case TLS_HTTP_2:
		return SLICE("h2");
	}
	return SLICE("");
}

static void read_stated(struct client_tls *t, const struct proxy_header *h)
{
	*t = (struct client_tls){
		.version = h->version,
		.cipher = h->cipher,
		.sni = h->authority,
		.alpn = h->alpn,
		.subject = h->subject,
	};
}

bool client_tls_read(struct client_tls *t, const struct client *c)
{
	const struct proxy_header *stated = client_proxy_header(c);
	const struct tls *s = conn_tls(&c->conn);

	if (stated && stated->tls) {
		read_stated(t, stated);
		return true;
	}
	if (!s)
		return false;
	*t = (struct client_tls){
		.version = version_text(s),
		.cipher = tls_suite_name(s->suite),
		.sni = s->name,
		.alpn = protocol_text(s),
		.ja4 = tls_ja4(s),
		.resumed = s->resumed ? SLICE("true") : SLICE("false"),
	};
	if (s->peer) {
		t->subject = s->peer->subject;
		t->issuer = s->peer->issuer;
		t->san = s->peer->san;
		t->serial = s->peer->serial;
		t->fingerprint = s->peer->fingerprint;
	}
	return true;
}

void client_tls_forward(struct forwarding_peer *peer, const struct client *c)
{
	const struct tls *s = conn_tls(&c->conn);
	unsigned forward = s && s->peer ? tls_context_tag(s->context, s->policy)
					: CONFIG_FORWARD_OFF;

	if (forward >= CONFIG_FORWARD_LEAF)
		peer->certificate = s->peer->certificate;
	if (forward >= CONFIG_FORWARD_CHAIN)
		peer->chain = s->peer->chain;
}

bool client_tls_misdirected(const struct client *c, struct slice host)
{
	const struct tls *s = conn_tls(&c->conn);

	return s && tls_context_policy(s->context, host) != s->policy;
}

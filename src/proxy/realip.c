#include "realip.h"

#include "clienttls.h"
#include "proxy/addresses.h"

/* The answer is kept until the configuration changes (proxy_adopt()). */
static bool client_trusted(struct client *c, const struct generation *g)
{
	if (!c->trust_known) {
		c->trust_known = true;
		c->trusted = addresses_contain(&g->config->trust, &c->peer);
	}
	return c->trusted;
}

/* Forwarding fields are read for the address only: the port is 0. */
static struct peer peer_of(const struct ip *ip)
{
	struct peer peer = { .family = ip->family == 4 ? AF_INET : AF_INET6 };

	memcpy(peer.addr, ip->bytes, sizeof(peer.addr));
	return peer;
}

void realip_read(struct realip *a, struct exchange *x, const struct head *h)
{
	const struct config_addresses *t = &x->generation->config->trust;
	struct client *c = x->client;
	struct client_tls tls;
	const struct forwarding *f = &a->forwarding;

	a->peer = (struct forwarding_peer){
		.text = { a->text, peer_text(&c->peer, a->text, sizeof(a->text)) },
		.https = client_tls_read(&tls, c),
		.trusted = t->text_n > 0 && client_trusted(c, x->generation),
		.proxies = t->ranges,
		.proxy_n = t->range_n,
	};
	client_tls_forward(&a->peer, c);
	forwarding_read(&a->forwarding, h, &a->peer);
	if (f->list.hops > 0)
		x->client_addr = peer_of(&f->list.client);
	else if (f->elements.hops > 0)
		x->client_addr = peer_of(&f->elements.client);
}

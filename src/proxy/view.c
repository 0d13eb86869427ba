#include "view.h"

#include "proxy/proxy.h"
#include "proxy/rule.h"

bool exchange_keep_head(struct exchange *x, const struct head *h, uint64_t which)
{
	struct kept_choice choice;
	struct buf *b;

	/* When it is routed again, h refers to the block. */
	if (exchange_keeps_all(x))
		return true;
	kept_head_choose(&choice, h, which);
	b = buf_new(io_bufs(x->proxy->tick->loop), choice.bytes);
	if (!b)
		return false;
	kept_head_write((void *)b->data, &choice);
	buf_put(x->kept_head);
	x->kept_head = b;
	return true;
}

void exchange_view_read(struct exchange_view *v, struct exchange *x, const struct head *h)
{
	realip_read(&v->realip, x, h);
	request_view_init(&v->view, h, v->realip.forwarding.client,
			  x->generation->path_scratch);
	v->view.forwarding = &v->realip.forwarding;
	v->view.user = rules_user(x);
	v->view.request_id = log_record_id(x->relay.record);
	v->view.trace_id = log_record_trace_id(x->relay.record);
	v->view.tls = client_tls_read(&v->tls, x->client) ? &v->tls : NULL;
}

const struct request_view *exchange_view_restore(struct exchange_view *v,
						 struct exchange *x)
{
	struct head *h = &x->proxy->request;

	ASSERT(exchange_keeps_all(x));
	kept_head_restore(kept_head_of(x), h);
	exchange_view_read(v, x, h);
	v->view.route = x->route;
	return &v->view;
}

/* The pool: receive buffers and blocks, taken and given back. */
#include "io/buf.h"

#include "micro.h"

#define AT_ONCE 16

static struct buf_pool pool;

static void prepare_buffers(void)
{
	micro_must(buf_pool_init(&pool, 1024) == 0, "a pool");
}

static void receive(unsigned n)
{
	while (n-- > 0) {
		struct buf *b = buf_take(&pool);

		micro_keep(b);
		buf_put(b);
	}
}

static void block(unsigned n)
{
	while (n-- > 0) {
		struct buf *b = buf_new(&pool, 400);

		micro_keep(b);
		buf_put(b);
	}
}

static void several(unsigned n)
{
	struct buf *bufs[AT_ONCE];

	for (unsigned i = 0; i < n; i += AT_ONCE) {
		for (unsigned k = 0; k < AT_ONCE; k++)
			bufs[k] = buf_take(&pool);
		micro_keep(bufs);
		for (unsigned k = 0; k < AT_ONCE; k++)
			buf_put(bufs[k]);
	}
}

static const struct micro buffers[] = {
	{ "buffer-receive", "a receive buffer taken and given back", receive },
	{ "buffer-several", "the same, sixteen out at a time, each", several },
	{ "buffer-block", "a block of 400 bytes taken and given back", block },
};

const struct micro_set micro_buffers = { buffers, sizeof(buffers) / sizeof(buffers[0]), prepare_buffers };

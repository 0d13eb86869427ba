/* The buffer pool: receive buffers and blocks, taken and returned. */
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
	{ "buffer-receive", "take and return a receive buffer", receive },
	{ "buffer-several", "the same, in groups of sixteen, each", several },
	{ "buffer-block", "take and return a block of 400 bytes", block },
};

const struct micro_set micro_buffers = { buffers, sizeof(buffers) / sizeof(buffers[0]),
					 prepare_buffers, NULL };

/* The mailbox without contention: the cost of post and drain for one thread. */
#include "micro.h"
#include "net/mailbox.h"

#define AT_ONCE 16

static struct mailbox box;
static struct mail messages[AT_ONCE];
static unsigned delivered;

static void wake(void *sleeper)
{
	micro_keep(sleeper);
}

static void deliver(struct mail *m)
{
	micro_keep(m);
	delivered++;
}

static void prepare_mailboxes(void)
{
	mailbox_init(&box, wake, &box);
	for (unsigned i = 0; i < AT_ONCE; i++)
		messages[i].deliver = deliver;
}

static void one(unsigned n)
{
	unsigned before = delivered;

	for (unsigned i = 0; i < n; i++) {
		mailbox_post(&box, &messages[0]);
		mailbox_drain(&box);
	}
	micro_must(delivered == before + n, "a message");
}

static void several(unsigned n)
{
	for (unsigned i = 0; i < n; i += AT_ONCE) {
		for (unsigned k = 0; k < AT_ONCE; k++)
			mailbox_post(&box, &messages[k]);
		mailbox_drain(&box);
	}
}

static void empty(unsigned n)
{
	while (n-- > 0) {
		mailbox_drain(&box);
		micro_keep(&box);
	}
}

static const struct micro mail[] = {
	{ "mailbox-one", "post and deliver a message", one },
	{ "mailbox-several", "the same, in groups of sixteen, each", several },
	{ "mailbox-empty", "drain an empty mailbox", empty },
};

const struct micro_set micro_mail = { mail, sizeof(mail) / sizeof(mail[0]),
				      prepare_mailboxes, NULL };

#include "net/mailbox.h"

#include <stddef.h>

void mailbox_init(struct mailbox *box, void (*wake)(void *sleeper), void *sleeper)
{
	atomic_init(&box->head, NULL);
	box->wake = wake;
	box->sleeper = sleeper;
}

void mailbox_post(struct mailbox *box, struct mail *m)
{
	struct mail *head = atomic_load_explicit(&box->head, memory_order_relaxed);

	do
		m->next = head;
	while (!atomic_compare_exchange_weak_explicit(&box->head, &head, m,
						      memory_order_release,
						      memory_order_relaxed));
	/* Only the first post to an empty mailbox needs to wake the receiver
	 * (kernel-notes/21-waking-a-worker). */
	if (!head)
		box->wake(box->sleeper);
}

void mailbox_drain(struct mailbox *box)
{
	struct mail *m, *ordered = NULL;

	/* A plain load first: an atomic exchange each tick would be a locked bus cycle
	 * for a mailbox that is nearly always empty. */
	if (!atomic_load_explicit(&box->head, memory_order_relaxed))
		return;
	m = atomic_exchange_explicit(&box->head, NULL, memory_order_acquire);
	while (m) {
		struct mail *next = m->next;

		m->next = ordered;
		ordered = m;
		m = next;
	}
	while (ordered) {
		struct mail *next = ordered->next;

		ordered->deliver(ordered);
		ordered = next;
	}
}

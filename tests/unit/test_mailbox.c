/* tsan: this test has threads. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/check.h"
#include "net/mailbox.h"

#define POSTERS 4
#define MAILS 20000

struct numbered_mail {
	struct mail mail;
	unsigned poster, number;
};

static struct mailbox box;
static struct numbered_mail mails[POSTERS][MAILS];
static unsigned next[POSTERS], delivered;
static _Atomic unsigned woken;

static void wake(void *sleeper)
{
	assert_ptr_equal(sleeper, &box);
	atomic_fetch_add(&woken, 1);
}

static void deliver(struct mail *m)
{
	struct numbered_mail *l = CONTAINER(m, struct numbered_mail, mail);

	ASSERT(l->number == next[l->poster]); /* in the order posted */
	next[l->poster]++;
	delivered++;
	m->next = NULL; /* the receiver may write to it */
}

static void *post_all(void *arg)
{
	unsigned poster = (unsigned)(size_t)arg;

	for (unsigned i = 0; i < MAILS; i++) {
		struct numbered_mail *l = &mails[poster][i];

		l->poster = poster;
		l->number = i;
		l->mail.deliver = deliver;
		mailbox_post(&box, &l->mail);
	}
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t threads[POSTERS];

	(void)state;
	mailbox_init(&box, wake, &box);
	for (size_t i = 0; i < POSTERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, post_all, (void *)i), 0);
	while (delivered < POSTERS * MAILS) {
		unsigned before = atomic_load(&woken);

		mailbox_drain(&box);
		/* The first post after a drain has called wake(). */
		while (delivered < POSTERS * MAILS && atomic_load(&woken) == before &&
		       atomic_load(&box.head) == NULL)
			;
	}
	for (unsigned i = 0; i < POSTERS; i++)
		pthread_join(threads[i], NULL);
	assert_true(woken >= 1 && woken <= POSTERS * MAILS);
	mailbox_drain(&box);
	assert_int_equal(delivered, POSTERS * MAILS);
}

static struct numbered_mail again;
static unsigned rounds;

/* Mail may be posted again while it is delivered; the next drain delivers it. */
static void deliver_again(struct mail *m)
{
	rounds++;
	mailbox_post(&box, m);
}

static void test_wakes_once(void **state)
{
	struct numbered_mail two[2] = { { .poster = 0 }, { .poster = 0 } };

	(void)state;
	mailbox_init(&box, wake, &box);
	atomic_store(&woken, 0);
	again.mail.deliver = deliver_again;
	mailbox_post(&box, &again.mail);
	assert_int_equal(woken, 1);
	mailbox_drain(&box);
	assert_int_equal(rounds, 1);
	assert_int_equal(woken, 2);
	mailbox_drain(&box);
	assert_int_equal(rounds, 2);
	(void)atomic_exchange(&box.head, NULL);
	next[0] = 0;
	two[0].mail.deliver = two[1].mail.deliver = deliver;
	two[1].number = 1;
	atomic_store(&woken, 0);
	mailbox_post(&box, &two[0].mail);
	mailbox_post(&box, &two[1].mail);
	assert_int_equal(woken, 1); /* the mailbox was not empty at the second post */
	mailbox_drain(&box);
	assert_int_equal(next[0], 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_wakes_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

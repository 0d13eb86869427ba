/* tsan: this one has threads. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/check.h"
#include "net/mailbox.h"

#define POSTERS 4
#define LETTERS 20000

struct letter {
	struct mail message;
	unsigned poster, number;
};

static struct mailbox box;
static struct letter letters[POSTERS][LETTERS];
static unsigned next[POSTERS], delivered;
static _Atomic unsigned woken;

static void wake(void *sleeper)
{
	assert_ptr_equal(sleeper, &box);
	atomic_fetch_add(&woken, 1);
}

static void deliver(struct mail *m)
{
	struct letter *l = CONTAINER(m, struct letter, message);

	ASSERT(l->number == next[l->poster]); /* in the order posted */
	next[l->poster]++;
	delivered++;
	m->next = NULL; /* it is ours again */
}

static void *post_all(void *arg)
{
	unsigned poster = (unsigned)(size_t)arg;

	for (unsigned i = 0; i < LETTERS; i++) {
		struct letter *l = &letters[poster][i];

		l->poster = poster;
		l->number = i;
		l->message.deliver = deliver;
		mailbox_post(&box, &l->message);
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
	while (delivered < POSTERS * LETTERS) {
		unsigned before = atomic_load(&woken);

		mailbox_drain(&box);
		/* Whatever is posted after a drain has woken its owner. */
		while (delivered < POSTERS * LETTERS && atomic_load(&woken) == before &&
		       atomic_load(&box.head) == NULL)
			;
	}
	for (unsigned i = 0; i < POSTERS; i++)
		pthread_join(threads[i], NULL);
	assert_true(woken >= 1 && woken <= POSTERS * LETTERS);
	mailbox_drain(&box);
	assert_int_equal(delivered, POSTERS * LETTERS);
}

static struct letter again;
static unsigned rounds;

/* A message may be posted anew from inside its delivery, and comes with the next drain. */
static void deliver_again(struct mail *m)
{
	rounds++;
	mailbox_post(&box, m);
}

static void test_wakes_once(void **state)
{
	struct letter two[2] = { { .poster = 0 }, { .poster = 0 } };

	(void)state;
	mailbox_init(&box, wake, &box);
	atomic_store(&woken, 0);
	again.message.deliver = deliver_again;
	mailbox_post(&box, &again.message);
	assert_int_equal(woken, 1);
	mailbox_drain(&box);
	assert_int_equal(rounds, 1);
	assert_int_equal(woken, 2);
	mailbox_drain(&box);
	assert_int_equal(rounds, 2);
	(void)atomic_exchange(&box.head, NULL);
	next[0] = 0;
	two[0].message.deliver = two[1].message.deliver = deliver;
	two[1].number = 1;
	atomic_store(&woken, 0);
	mailbox_post(&box, &two[0].message);
	mailbox_post(&box, &two[1].message);
	assert_int_equal(woken, 1); /* the second finds the box full */
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

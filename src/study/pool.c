#include "pool.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "base/check.h"
#include "base/random.h"

struct pool_thread {
	pthread_t thread;
	sem_t work;
	struct mailbox box;
	_Atomic bool stop;
};

struct pool {
	unsigned n;
	_Atomic unsigned next;
	struct pool_thread threads[];
};

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t pool_burn(uint32_t ms)
{
	uint64_t end = cpu_ns() + ms * 1000000ull;
	struct random r = { 0 };
	uint64_t x = 0, rounds = 0;

	do {
		for (int i = 0; i < 10000; i++)
			x |= random_next(&r);
		rounds += 10000;
	} while (cpu_ns() < end && x != 0);
	return rounds;
}

static void job_return(struct mail *m)
{
	struct job *j = CONTAINER(m, struct job, message);

	j->done(j);
}

static void job_run(struct mail *m)
{
	struct job *j = CONTAINER(m, struct job, message);

	j->rounds = pool_burn(j->ms);
	j->message.deliver = job_return;
	mailbox_post(j->reply_to, &j->message);
}

static void *thread_run(void *arg)
{
	struct pool_thread *h = arg;

	while (!atomic_load(&h->stop)) {
		sem_wait(&h->work);
		mailbox_drain(&h->box);
	}
	return NULL;
}

static void thread_wake(void *thread)
{
	sem_post(&((struct pool_thread *)thread)->work);
}

static bool thread_start(struct pool_thread *h)
{
	atomic_init(&h->stop, false);
	sem_init(&h->work, 0, 0);
	mailbox_init(&h->box, thread_wake, h);
	if (pthread_create(&h->thread, NULL, thread_run, h) == 0)
		return true;
	sem_destroy(&h->work);
	return false;
}

struct pool *pool_new(unsigned n)
{
	struct pool *p = calloc(1, sizeof(*p) + n * sizeof(p->threads[0]));

	if (!p)
		return NULL;
	for (; p->n < n; p->n++) {
		if (!thread_start(&p->threads[p->n])) {
			pool_free(p);
			return NULL;
		}
	}
	return p;
}

void pool_free(struct pool *p)
{
	for (unsigned i = 0; i < p->n; i++) {
		struct pool_thread *h = &p->threads[i];

		atomic_store(&h->stop, true);
		sem_post(&h->work);
		pthread_join(h->thread, NULL);
		sem_destroy(&h->work);
	}
	free(p);
}

void pool_submit(struct pool *p, struct job *j)
{
	unsigned i = atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed) % p->n;

	j->message.deliver = job_run;
	mailbox_post(&p->threads[i].box, &j->message);
}

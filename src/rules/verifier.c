#include "verifier.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* Lower than that of workers; higher would be 0. */
#define PRIORITY 10
#define STACK_BYTES ((size_t)256 << 10)

struct verifier_thread {
	struct verifier *verifier;
	pthread_t thread;
	sem_t work;
	struct mailbox box;
	struct password_memory *memory;
	_Atomic unsigned waiting; /* with the one at work */
	_Atomic bool stop;
};

struct verifier {
	unsigned n;
	sem_t started;
	_Atomic unsigned waiting;
	struct password_memory *memory; /* without threads */
	struct verifier_thread threads[VERIFIER_THREADS_MAX];
};

static void deliver_result(struct mail *m)
{
	struct verification *v = CONTAINER(m, struct verification, message);

	atomic_fetch_sub_explicit(&v->verifier->waiting, 1, memory_order_relaxed);
	v->done(v);
}

static void verify(struct verification *v, struct password_memory *memory)
{
	v->matches = password_matches(memory, v->password, v->hash);
	explicit_bzero(v->password, sizeof(v->password));
	v->message.deliver = deliver_result;
	mailbox_post(v->reply_to, &v->message);
}

static void verify_on_thread(struct mail *m)
{
	struct verification *v = CONTAINER(m, struct verification, message);
	struct verifier_thread *t = &v->verifier->threads[v->thread];

	verify(v, t->memory);
	atomic_fetch_sub_explicit(&t->waiting, 1, memory_order_relaxed);
}

static void *thread_run(void *arg)
{
	struct verifier_thread *t = arg;

	/* Of this thread only, on Linux. */
	setpriority(PRIO_PROCESS, 0, PRIORITY);
	sem_post(&t->verifier->started);
	while (!atomic_load(&t->stop)) {
		sem_wait(&t->work);
		mailbox_drain(&t->box);
	}
	return NULL;
}

static void thread_wake(void *thread)
{
	sem_post(&((struct verifier_thread *)thread)->work);
}

static bool thread_start(struct verifier_thread *t)
{
	pthread_attr_t attributes;
	bool started;

	t->memory = password_memory_new();
	if (!t->memory || pthread_attr_init(&attributes) != 0)
		return false;
	sem_init(&t->work, 0, 0);
	mailbox_init(&t->box, thread_wake, t);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	started = pthread_create(&t->thread, &attributes, thread_run, t) == 0;
	pthread_attr_destroy(&attributes);
	/* Once it has set its priority: in the sandbox it may not. */
	if (started)
		while (sem_wait(&t->verifier->started) < 0)
			;
	return started;
}

static void thread_stop(struct verifier_thread *t)
{
	atomic_store(&t->stop, true);
	sem_post(&t->work);
	pthread_join(t->thread, NULL);
	sem_destroy(&t->work);
	password_memory_free(t->memory);
}

struct verifier *verifier_new(unsigned threads)
{
	struct verifier *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	sem_init(&v->started, 0, 0);
	if (threads > VERIFIER_THREADS_MAX)
		threads = VERIFIER_THREADS_MAX;
	if (threads == 0)
		v->memory = password_memory_new();
	for (; v->n < threads; v->n++) {
		v->threads[v->n].verifier = v;
		if (thread_start(&v->threads[v->n]))
			continue;
		password_memory_free(v->threads[v->n].memory);
		verifier_free(v);
		return NULL;
	}
	if (threads > 0 || v->memory)
		return v;
	verifier_free(v);
	return NULL;
}

void verifier_free(struct verifier *v)
{
	if (!v)
		return;
	ASSERT(atomic_load(&v->waiting) == 0);
	for (unsigned i = 0; i < v->n; i++)
		thread_stop(&v->threads[i]);
	sem_destroy(&v->started);
	password_memory_free(v->memory);
	free(v);
}

/* The thread that has the least to do. */
static unsigned thread_choose(struct verifier *v)
{
	unsigned best = 0;

	for (unsigned i = 1; i < v->n; i++)
		if (atomic_load_explicit(&v->threads[i].waiting, memory_order_relaxed) <
		    atomic_load_explicit(&v->threads[best].waiting, memory_order_relaxed))
			best = i;
	return best;
}

bool verifier_submit(struct verifier *verifier, struct verification *v)
{
	if (atomic_fetch_add_explicit(&verifier->waiting, 1, memory_order_relaxed) >=
	    VERIFIER_QUEUE_MAX) {
		atomic_fetch_sub_explicit(&verifier->waiting, 1, memory_order_relaxed);
		explicit_bzero(v->password, sizeof(v->password));
		return false;
	}
	v->verifier = verifier;
	if (verifier->n == 0) {
		verify(v, verifier->memory);
		return true;
	}
	v->thread = thread_choose(verifier);
	atomic_fetch_add_explicit(&verifier->threads[v->thread].waiting, 1,
				  memory_order_relaxed);
	v->message.deliver = verify_on_thread;
	mailbox_post(&verifier->threads[v->thread].box, &v->message);
	return true;
}

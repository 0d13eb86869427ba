#include "writethread.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine.h"

/* Most ops in flight. With this limit the queue of completed ops cannot overflow. A power
 * of two. */
#define QUEUE_MAX 256u

struct write_queue {
	struct io_write *ops[QUEUE_MAX];
	atomic_uint head; /* ops taken, ever; written by the consumer */
	atomic_uint tail; /* ops put, ever; written by the producer */
};

struct write_thread {
	struct io_loop *loop;
	pthread_t thread;
	sem_t todo_n;
	atomic_bool stop;
	unsigned inflight; /* for the loop's thread */
	struct write_queue todo, completed;
};

static void queue_put(struct write_queue *q, struct io_write *op)
{
	unsigned tail = atomic_load_explicit(&q->tail, memory_order_relaxed);

	q->ops[tail % QUEUE_MAX] = op;
	atomic_store_explicit(&q->tail, tail + 1, memory_order_release);
}

static struct io_write *queue_take(struct write_queue *q)
{
	unsigned head = atomic_load_explicit(&q->head, memory_order_relaxed);
	struct io_write *op;

	if (head == atomic_load_explicit(&q->tail, memory_order_acquire))
		return NULL;
	op = q->ops[head % QUEUE_MAX];
	atomic_store_explicit(&q->head, head + 1, memory_order_release);
	return op;
}

/* One thread writes for all logs of the loop: it must not wait for the reader of one of them. */
static int op_write_all(struct io_write *op)
{
	struct pollfd writable = { .fd = op->op.fd, .events = POLLOUT };

	if (op->nowait && poll(&writable, 1, 0) == 0)
		return -EAGAIN;
	while (op->left > 0) {
		ssize_t n = write(op->op.fd, op->ptr + (op->len - op->left), op->left);

		if (n > 0)
			op->left -= (size_t)n;
		else if (n == 0)
			return -EIO;
		else if (errno == EAGAIN)
			poll(&writable, 1, -1);
		else if (errno != EINTR)
			return -errno;
	}
	return (int)op->len;
}

static void *write_thread_run(void *arg)
{
	struct write_thread *w = arg;
	struct io_write *op;

	for (;;) {
		while (sem_wait(&w->todo_n) < 0)
			continue;
		if (atomic_load(&w->stop))
			return NULL;
		op = queue_take(&w->todo);
		ASSERT(op);
		op->op.res = op_write_all(op);
		queue_put(&w->completed, op);
		io_wake(w->loop);
	}
}

/* The thread blocks all signals: other threads handle them. */
static int start_thread(struct write_thread *w)
{
	sigset_t all, before;
	int res;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	res = pthread_create(&w->thread, NULL, write_thread_run, w);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return res;
}

struct write_thread *write_thread_open(struct io_loop *loop)
{
	struct write_thread *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->loop = loop;
	sem_init(&w->todo_n, 0, 0);
	if (start_thread(w) != 0) {
		sem_destroy(&w->todo_n);
		free(w);
		return NULL;
	}
	return w;
}

void write_thread_close(struct write_thread *w)
{
	ASSERT(w->inflight == 0);
	atomic_store(&w->stop, true);
	sem_post(&w->todo_n);
	pthread_join(w->thread, NULL);
	sem_destroy(&w->todo_n);
	free(w);
}

bool write_thread_put(struct write_thread *w, struct io_write *op)
{
	if (w->inflight == QUEUE_MAX)
		return false;
	w->inflight++;
	queue_put(&w->todo, op);
	sem_post(&w->todo_n);
	return true;
}

struct io_write *write_thread_take(struct write_thread *w)
{
	struct io_write *op = queue_take(&w->completed);

	if (op)
		w->inflight--;
	return op;
}

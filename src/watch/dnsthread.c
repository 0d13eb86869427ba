#include "watch/dnsthread.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct dns_thread {
	pthread_t thread;
	struct dns *dns;
	struct mailbox mailbox;
	struct mailbox *home;
	int waker,
		sleeper; /* a socket pair: the sandbox allows its system calls anyway */
	struct mail stop;
	bool stopping; /* used by the thread only */
};

struct servers_change {
	struct mail mail;
	struct dns_thread *thread;
	char *servers; /* NULL: those of the system */
};

/* On any thread. A full socket has bytes, so it wakes too. */
static void wake(void *sleeper)
{
	struct dns_thread *t = sleeper;
	char c = 0;
	struct iovec iov = { &c, 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	while (sendmsg(t->waker, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno == EINTR)
		;
}

static void take_wakes(struct dns_thread *t)
{
	char bytes[64];

	while (recvfrom(t->sleeper, bytes, sizeof(bytes), MSG_DONTWAIT, NULL, NULL) ==
	       sizeof(bytes))
		;
}

static void *dns_thread_run(void *arg)
{
	struct dns_thread *t = arg;

	while (!t->stopping) {
		dns_wait(t->dns, t->sleeper, -1);
		take_wakes(t);
		mailbox_drain(&t->mailbox);
	}
	dns_free(t->dns);
	return NULL;
}

/* ---- results ----------------------------------------------------------------- */

static void deliver_answer(struct mail *m)
{
	struct resolver_query *query = CONTAINER(m, struct resolver_query, mail);

	query->done(query);
}

static void lookup_done(struct dns_lookup *l)
{
	struct resolver_query *query = CONTAINER(l, struct resolver_query, lookup);
	struct dns_thread *t = query->owner_data;

	query->mail.deliver = deliver_answer;
	mailbox_post(t->home, &query->mail);
}

/* ---- on the thread ------------------------------------------------------------ */

static void deliver_query(struct mail *m)
{
	struct resolver_query *query = CONTAINER(m, struct resolver_query, mail);
	struct dns_thread *t = query->owner_data;

	query->lookup.done = lookup_done;
	dns_query(t->dns, &query->lookup);
}

static void deliver_change(struct mail *m)
{
	struct servers_change *c = CONTAINER(m, struct servers_change, mail);

	dns_set_servers(c->thread->dns, c->servers);
	free(c->servers);
	free(c);
}

static void deliver_stop(struct mail *m)
{
	CONTAINER(m, struct dns_thread, stop)->stopping = true;
}

/* ------------------------------------------------------------------------------- */

void dns_thread_query(struct dns_thread *t, struct resolver_query *query)
{
	query->owner_data = t;
	query->mail.deliver = deliver_query;
	mailbox_post(&t->mailbox, &query->mail);
}

bool dns_thread_set_servers(struct dns_thread *t, const char *servers)
{
	struct servers_change *c = calloc(1, sizeof(*c));

	if (!c)
		return false;
	c->thread = t;
	c->servers = servers ? strdup(servers) : NULL;
	if (servers && !c->servers) {
		free(c);
		return false;
	}
	c->mail.deliver = deliver_change;
	mailbox_post(&t->mailbox, &c->mail);
	return true;
}

int dns_thread_new(struct dns_thread **where, struct mailbox *home)
{
	struct dns_thread *t = calloc(1, sizeof(*t));
	int pair[2], error;

	if (!t)
		return -ENOMEM;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		error = -errno;
		free(t);
		return error;
	}
	t->waker = pair[0];
	t->sleeper = pair[1];
	t->home = home;
	mailbox_init(&t->mailbox, wake, t);
	error = dns_new(&t->dns);
	if (error == 0) {
		error = -pthread_create(&t->thread, NULL, dns_thread_run, t);
		if (error < 0)
			dns_free(t->dns);
	}
	if (error < 0) {
		close(t->waker);
		close(t->sleeper);
		free(t);
		return error;
	}
	*where = t;
	return 0;
}

void dns_thread_free(struct dns_thread *t)
{
	t->stop.deliver = deliver_stop;
	mailbox_post(&t->mailbox, &t->stop);
	pthread_join(t->thread, NULL);
	close(t->waker);
	close(t->sleeper);
	free(t);
}

/* Verifies passwords on threads of its own, since a hash takes milliseconds to a second.
 *
 *   verifier_submit() ─▶ the thread that has the least to do ─▶ done(), on the worker
 *
 * The threads have a low priority: what they do must not take time from requests that need no
 * password. They are started with the process, as none can be started in the sandbox; a thread that
 * has nothing to do sleeps.
 *
 * Owner: the process; any worker may submit. Limits: VERIFIER_QUEUE_MAX passwords that wait, for
 * all threads together. Errors: verifier_submit() refuses. */
#ifndef RULES_VERIFIER_H
#define RULES_VERIFIER_H

#include "credentials.h"
#include "net/mailbox.h"
#include "password.h"

#define VERIFIER_QUEUE_MAX 64u /* about 3 s with bcrypt at cost 10 and one thread */
#define VERIFIER_THREADS_MAX 8u

struct verifier;

struct verification {
	struct mail message; /* `deliver` is set by verifier_submit() */
	struct mailbox *reply_to;
	void (*done)(struct verification *v); /* called on the worker */
	struct verifier *verifier;
	unsigned thread;
	bool matches; /* the result */
	char hash[PASSWORD_HASH_MAX + 1];
	char password[CREDENTIALS_PASSWORD_MAX + 1]; /* cleared on the way back */
};

/* 0 threads: verifies at once on the caller's thread, for tests. NULL: no memory or threads. */
struct verifier *verifier_new(unsigned threads);

/* All verifications must have come back. */
void verifier_free(struct verifier *v);

/* Verifies v->password, by v->hash. It belongs to the verifier until done() is called. False: too
 * many wait, and the password was cleared. */
bool verifier_submit(struct verifier *verifier, struct verification *v) MUST_USE;

#endif

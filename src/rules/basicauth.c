/* The rule `basic_auth`: 401 without the name and password of a user (RFC 7617).
 *
 *   Authorization ─▶ verified a while ago (verified.h) ─────────────▶ goes on
 *                └─▶ waits for a thread (verifier.h) ─▶ goes on, or 401
 *
 * A name that is nobody's takes as long as that of a user: one of the hashes in the file is
 * compared, always the same for a name. Requests that present the same credentials at once wait for
 * one verification, so the requests of a page that is loaded, or of a busy client, cost one hash
 * and not one each.
 *
 * Limits: VERIFIER_QUEUE_MAX verifications wait, more get 503. */
#include "basicauth.h"

#include <string.h>
#include <unistd.h>

#include "proxy/rule.h"
#include "verified.h"
#include "verifier.h"

struct basic_work {
	struct slab *slab;
	struct exchange *exchange; /* NULL: it has ended, but its verification has not */
	struct basic_work
		*waits_for; /* whose verification it waits for, which may be its own */
	struct list
		node; /* its own: in proxy->verifications; else in waits_for->followers */
	struct list followers;
	struct verified_key key;
	struct slice user;
	bool known;    /* the name is that of a user */
	bool returned; /* the verification, with this result: */
	bool matches;
	struct verification verification;
};

/* ---- of the process ------------------------------------------------------------- */

/* Made before its workers are, which read the pointers only. */
static struct verifier *verifier;
static struct verified *verified;

/* As many as could use a processor each. */
static unsigned thread_count(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	return cpus < 1                      ? 1
	       : cpus < VERIFIER_THREADS_MAX ? (unsigned)cpus
					     : VERIFIER_THREADS_MAX;
}

static void basic_auth_close(void)
{
	verifier_free(verifier);
	verified_free(verified);
	verifier = NULL;
	verified = NULL;
}

static bool basic_auth_open(bool in_place)
{
	ASSERT(!verifier && !verified);
	verifier = verifier_new(in_place ? 0 : thread_count());
	verified = verified_new();
	if (verifier && verified)
		return true;
	basic_auth_close();
	return false;
}

struct verifier *basic_auth_verifier(void)
{
	return verifier;
}

/* ---- results -------------------------------------------------------------------- */

static void take_result(struct basic_work *w, bool matches)
{
	w->returned = true;
	w->matches = matches && w->known;
	if (w->exchange)
		tick_run(w->exchange->proxy->tick, &w->exchange->task);
}

/* The exchange of the work may have ended: then the work is freed here. */
static void verification_done(struct verification *v)
{
	struct basic_work *w = CONTAINER(v, struct basic_work, verification), *follower;

	list_remove(&w->node);
	while (!list_empty(&w->followers)) {
		follower = LIST_ITEM(w->followers.next, struct basic_work, node);
		list_remove(&follower->node);
		take_result(follower, v->matches);
	}
	take_result(w, v->matches);
	if (!w->exchange)
		slab_put(w->slab, w);
}

static void basic_auth_ended(const struct rule_use *u)
{
	struct basic_work *w = rule_work(u);

	w->exchange = NULL;
	if (!w->returned && w->waits_for == w)
		return;
	list_remove(&w->node);
	slab_put(w->slab, w);
}

/* ---- requests ------------------------------------------------------------------- */

static enum rule_verdict refuse(const struct rule_use *u)
{
	const struct config_basic_auth *b = u->options;

	exchange_challenge(u->exchange, b->challenge);
	return RULE_ENDED;
}

static enum rule_verdict accept_user(const struct rule_use *u, struct slice user)
{
	return rule_set_user(u, user) ? RULE_GOES_ON : RULE_ENDED;
}

/* The work that waits for the verification of the same credentials; NULL: none does. */
static struct basic_work *find_same(struct list *verifications,
				    const struct verified_key *k)
{
	for (struct list *at = verifications->next; at != verifications; at = at->next) {
		struct basic_work *w = LIST_ITEM(at, struct basic_work, node);

		if (w->key.first == k->first && w->key.rest == k->rest &&
		    w->key.set == k->set)
			return w;
	}
	return NULL;
}

static void copy_text(char *to, struct slice from, size_t size)
{
	ASSERT(from.len < size);
	memcpy(to, from.ptr, from.len);
	to[from.len] = '\0';
}

/* False: too many wait already. */
static bool begin_verification(struct basic_work *w, const struct user *user,
			       struct slice password)
{
	struct proxy *p = w->exchange->proxy;
	struct basic_work *same = find_same(&p->verifications, &w->key);

	w->waits_for = same ? same : w;
	if (same) {
		list_append(&same->followers, &w->node);
		return true;
	}
	w->verification.reply_to = &p->tick->mailbox;
	w->verification.done = verification_done;
	copy_text(w->verification.hash, user->hash, sizeof(w->verification.hash));
	copy_text(w->verification.password, password, sizeof(w->verification.password));
	w->returned = !verifier_submit(verifier, &w->verification);
	if (!w->returned)
		list_append(&p->verifications, &w->node);
	return !w->returned;
}

static enum rule_verdict wait_for_result(const struct rule_use *u,
					 const struct user *user,
					 const struct verified_key *k,
					 struct slice password, bool known)
{
	struct basic_work *w = rule_begin_work(u);

	if (!w)
		return RULE_ENDED;
	w->slab = rule_works(u->exchange->proxy, &rule_basic_auth);
	w->exchange = u->exchange;
	w->key = *k;
	w->known = known;
	w->user = user->name;
	list_init(&w->node);
	list_init(&w->followers);
	if (begin_verification(w, user, password))
		return RULE_WAITS;
	exchange_fail(u->exchange, ENDING_VERIFIER_BUSY);
	return RULE_ENDED;
}

static enum rule_verdict check_credentials(const struct rule_use *u,
					   const struct credentials *c)
{
	const struct config_basic_auth *b = u->options;
	const struct user *user = users_find(&b->users, c->user);
	bool known = user;
	struct verified_key k;

	if (!known) {
		k = verified_key(verified, SLICE(""), c->user, SLICE(""), 0);
		user = users_any(&b->users, k.first);
	}
	k = verified_key(verified, user->hash, c->user, c->password, b->cache_ms);
	if (b->cache_ms > 0 && known &&
	    verified_find(verified, &k, u->exchange->proxy->tick->now_ms))
		return accept_user(u, user->name);
	return wait_for_result(u, user, &k, c->password, known);
}

static enum rule_verdict basic_auth_check(const struct rule_use *u,
					  const struct request_view *view)
{
	struct credentials c;
	enum rule_verdict verdict;

	verdict = credentials_read(view->head, &c) ? check_credentials(u, &c) : refuse(u);
	explicit_bzero(c.bytes, sizeof(c.bytes));
	return verdict;
}

static enum rule_verdict basic_auth_step(const struct rule_use *u)
{
	const struct config_basic_auth *b = u->options;
	struct basic_work *w = rule_work(u);

	if (!w->returned)
		return RULE_WAITS;
	if (!w->matches)
		return refuse(u);
	if (b->cache_ms > 0 && w->waits_for == w)
		verified_put(verified, &w->key, u->exchange->proxy->tick->now_ms,
			     b->cache_ms);
	return accept_user(u, w->user);
}

static bool basic_auth_request(const struct rule_use *u, const struct request_view *view,
			       struct request_changes *c)
{
	const struct config_basic_auth *b = u->options;

	(void)view;
	if (b->forward || field_remove(c->fields, SLICE("Authorization")))
		return true;
	exchange_fail(u->exchange, ENDING_NO_MEMORY);
	return false;
}

const struct rule rule_basic_auth = {
	.config = {
		.key = NODE_ROW(basic_auth, "{ users: FILE, … }", "none",
				"rule: 401 without the name and password of a user (RFC 7617)"),
		.has_threads = true,
		.sections = basic_auth_sections,
		.read = basic_auth_read,
		.print = basic_auth_print,
	},
	.check = basic_auth_check,
	.work_bytes = sizeof(struct basic_work),
	.step = basic_auth_step,
	.ended = basic_auth_ended,
	.request = basic_auth_request,
	.open = basic_auth_open,
	.close = basic_auth_close,
};

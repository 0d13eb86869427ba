#include "proxy/rule.h"

#include "proxy/proxy.h"
#include "rulework.h"
#include "tls/digest.h"
#include "view.h"

static const struct rule *rule_of(const struct config_rule *config)
{
	return CONTAINER(config, const struct rule, config);
}

static const struct rule *rule_at(const struct config_rules *rules, unsigned i)
{
	return rule_of(rules->of[i].rule);
}

static struct rule_use use_at(struct exchange *x, unsigned i)
{
	return (struct rule_use){ x, x->route->rules->of[i].options, i };
}

/* ---- work ------------------------------------------------------------------- */

static unsigned table_index(const struct rule *rule)
{
	unsigned i = 0;

	while (config_rules[i] != &rule->config)
		i++;
	ASSERT(rule->work_bytes > 0);
	return i;
}

struct slab *rule_works(struct proxy *p, const struct rule *rule)
{
	return &p->rule_works[table_index(rule)];
}

static bool works_begin(struct exchange *x)
{
	if (!x->rules)
		x->rules = slab_take(&x->proxy->rules);
	return x->rules;
}

void *rule_begin_work(const struct rule_use *u)
{
	struct exchange *x = u->exchange;
	const struct rule *rule = rule_at(x->route->rules, u->index);
	void *work = works_begin(x) ? slab_take(rule_works(x->proxy, rule)) : NULL;

	if (work) {
		ASSERT(!x->rules->works[u->index]);
		x->rules->works[u->index] = work;
	} else {
		exchange_fail(x, ENDING_NO_MEMORY);
	}
	return work;
}

void *rule_work(const struct rule_use *u)
{
	return u->exchange->rules ? u->exchange->rules->works[u->index] : NULL;
}

bool rule_set_user(const struct rule_use *u, struct slice user)
{
	if (!works_begin(u->exchange)) {
		exchange_fail(u->exchange, ENDING_NO_MEMORY);
		return false;
	}
	u->exchange->rules->user = user;
	return true;
}

struct slice rules_user(const struct exchange *x)
{
	return x->rules ? x->rules->user : SLICE("");
}

void rules_ended(struct exchange *x)
{
	if (!x->rules)
		return;
	for (unsigned i = 0; i < x->route->rules->n; i++) {
		struct rule_use u = use_at(x, i);

		if (!x->rules->works[i])
			continue;
		rule_at(x->route->rules, i)->ended(&u);
		x->rules->works[i] = NULL;
	}
	slab_put(&x->proxy->rules, x->rules);
	x->rules = NULL;
}

static bool has_work(unsigned i)
{
	return rule_of(config_rules[i])->work_bytes > 0;
}

void rule_works_init(struct proxy *p)
{
	slab_init(&p->rules, "rules", sizeof(struct rules_at_work), 0);
	list_init(&p->verifications);
	list_init(&p->mirrors);
	for (unsigned i = 0; config_rules[i]; i++) {
		ASSERT(i < RULES_MAX);
		if (has_work(i))
			slab_init(&p->rule_works[i], config_rules[i]->key.name.ptr,
				  rule_of(config_rules[i])->work_bytes, 0);
	}
}

void rule_works_done(struct proxy *p)
{
	tls_digester_free(p->limit_sharing.digester);
	slab_done(&p->rules);
	for (unsigned i = 0; config_rules[i]; i++)
		if (has_work(i))
			slab_done(&p->rule_works[i]);
}

void rule_works_trim(struct proxy *p)
{
	slab_trim(&p->rules);
	for (unsigned i = 0; config_rules[i]; i++)
		if (has_work(i))
			slab_trim(&p->rule_works[i]);
}

void rules_abandon(struct proxy *p)
{
	for (unsigned i = 0; config_rules[i]; i++)
		if (rule_of(config_rules[i])->abandon)
			rule_of(config_rules[i])->abandon(p);
}

bool rule_works_idle(const struct proxy *p)
{
	for (unsigned i = 0; config_rules[i]; i++)
		if (p->rule_works[i].taken > 0)
			return false;
	return true;
}

/* ---- of the process ----------------------------------------------------------- */

static void close_first(unsigned n)
{
	while (n-- > 0)
		if (rule_of(config_rules[n])->close)
			rule_of(config_rules[n])->close();
}

bool rules_open(bool in_place)
{
	for (unsigned i = 0; config_rules[i]; i++) {
		if (!rule_of(config_rules[i])->open || rule_of(config_rules[i])->open(in_place))
			continue;
		close_first(i);
		return false;
	}
	return true;
}

void rules_close(void)
{
	unsigned n = 0;

	while (config_rules[n])
		n++;
	close_first(n);
}

/* ---- requests ---------------------------------------------------------------- */

/* The rule at `index` waits: what it decides later is about the head as it is now. */
static enum rule_verdict rule_wait(struct exchange *x, const struct request_view *view,
				   unsigned index)
{
	ASSERT(rule_at(x->route->rules, index)->step && x->rules);
	x->rules->waiting = (uint8_t)index;
	if (exchange_keep_head(x, view->head, KEPT_ALL))
		return RULE_WAITS;
	exchange_fail(x, ENDING_NO_MEMORY);
	return RULE_ENDED;
}

enum rule_verdict rules_check(struct exchange *x, struct request_view *view, unsigned from)
{
	const struct config_rules *rules = x->route->rules;

	for (unsigned i = from; i < rules->n; i++) {
		struct rule_use u = use_at(x, i);
		enum rule_verdict verdict = RULE_GOES_ON;

		if (rule_at(rules, i)->check)
			verdict = rule_at(rules, i)->check(&u, view);
		ASSERT(x->ended == (verdict == RULE_ENDED));
		if (verdict == RULE_WAITS)
			return rule_wait(x, view, i);
		if (verdict == RULE_ENDED)
			return verdict;
		view->user = rules_user(x);
	}
	return RULE_GOES_ON;
}

enum rule_verdict rules_step(struct exchange *x)
{
	struct rule_use u = use_at(x, x->rules->waiting);
	enum rule_verdict verdict = rule_at(x->route->rules, u.index)->step(&u);

	ASSERT(x->ended == (verdict == RULE_ENDED));
	return verdict;
}

unsigned rules_waiting(const struct exchange *x)
{
	return x->rules->waiting;
}

void rules_check_waiting(const struct exchange *x)
{
	ASSERT(x->rules && x->rules->waiting < x->route->rules->n);
	ASSERT(x->rules->works[x->rules->waiting] && exchange_keeps_all(x));
}

bool rules_change_request(struct exchange *x, const struct request_view *view,
			  struct request_changes *c)
{
	const struct config_rules *rules = x->route->rules;

	c->fields = &x->proxy->changes;
	field_changes_begin(c->fields);
	for (unsigned i = 0; i < rules->n; i++) {
		struct rule_use u = use_at(x, i);

		if (rule_at(rules, i)->request &&
		    !rule_at(rules, i)->request(&u, view, c)) {
			ASSERT(x->ended);
			return false;
		}
	}
	return true;
}

/* ---- responses --------------------------------------------------------------- */

bool rules_see_responses(const struct config_route *route)
{
	if (!route || !route->rules)
		return false;
	for (unsigned i = 0; i < route->rules->n; i++)
		if (rule_at(route->rules, i)->response || rule_at(route->rules, i)->page)
			return true;
	return false;
}

/* The request, if a rule of the route wants to see it. */
static const struct request_view *view_again(struct exchange *x,
					     struct exchange_view *space)
{
	if (!x->route->rules->keeps_head || !exchange_keeps_all(x))
		return NULL;
	return exchange_view_restore(space, x);
}

bool rules_page(struct exchange *x, int status, bool own, struct rule_page *page)
{
	const struct request_view *view;
	struct exchange_view space;

	if (status < 400 || !rules_see_responses(x->route))
		return false;
	view = view_again(x, &space);
	for (unsigned i = 0; i < x->route->rules->n; i++) {
		struct rule_use u = use_at(x, i);

		if (rule_at(x->route->rules, i)->page &&
		    rule_at(x->route->rules, i)->page(&u, view, status, own, page))
			return true;
	}
	return false;
}

void rules_change_response(struct exchange *x, const struct head *h,
			   struct field_changes *c)
{
	const struct request_view *view;
	struct exchange_view space;

	if (!rules_see_responses(x->route))
		return;
	view = view_again(x, &space);
	for (unsigned i = 0; i < x->route->rules->n; i++) {
		struct rule_use u = use_at(x, i);

		if (rule_at(x->route->rules, i)->response)
			rule_at(x->route->rules, i)->response(&u, view, h, c);
	}
}

const struct field_changes *rules_response(struct exchange *x, const struct head *h)
{
	struct field_changes *c = &x->proxy->changes;

	field_changes_begin(c);
	rules_change_response(x, h, c);
	return c->n > 0 ? c : NULL;
}

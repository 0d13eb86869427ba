/* Users and groups, by name or number. */
#include "reader.h"

#include <grp.h>
#include <pwd.h>
#include <stdlib.h>

/* Where no user database knows it (a container without one), it still is the id that
 * the kernel shows for whom it cannot name. */
#define NOBODY "nobody"
#define NOBODY_ID 65534u

/* The highest id stands for "no change". */
bool user_number(const char *text, uint32_t *id)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (text[0] < '0' || text[0] > '9' || *end || n >= UINT32_MAX)
		return false;
	*id = (uint32_t)n;
	return true;
}

static struct source_pos place_of(const struct node *n)
{
	return n ? n->at : (struct source_pos){ 1, 1 };
}

/* Sets uid, and the gid that goes with it. False: a number without a group. */
static bool find_user(struct reader *r, const struct node *n)
{
	struct config *c = r->config;
	bool is_number = user_number(c->user, &c->uid);
	const struct passwd *pw = is_number ? getpwuid(c->uid) : getpwnam(c->user);

	if (pw) {
		c->uid = pw->pw_uid;
		c->gid = pw->pw_gid;
	} else if (strcmp(c->user, NOBODY) == 0) {
		c->uid = c->gid = NOBODY_ID;
	} else if (!is_number) {
		report_error(
			&r->report, place_of(n),
			"unknown user '%.*s'; write the name of an existing user, or a "
			"numeric uid",
			REPORT_ARG(slice_of(c->user)));
	}
	return pw || !is_number;
}

static void find_group(struct reader *r, const struct node *n)
{
	struct config *c = r->config;
	const struct group *gr;

	if (user_number(c->group, &c->gid))
		return;
	gr = getgrnam(c->group);
	if (gr)
		c->gid = gr->gr_gid;
	else
		report_error(
			&r->report, place_of(n),
			"unknown group '%.*s'; write the name of an existing group, or a "
			"numeric gid",
			REPORT_ARG(slice_of(c->group)));
}

static void look_up(struct reader *r, const struct node *user, const struct node *group)
{
	const struct config *c = r->config;
	bool has_group = find_user(r, user);

	if (c->group[0] != '\0')
		find_group(r, group);
	else if (!has_group)
		report_error(
			&r->report, place_of(user),
			"no user has this uid, so its group is unknown; write 'group: "
			"NUMBER' as well");
}

void user_read(struct reader *r, const struct node *user, const struct node *group)
{
	struct config *c = r->config;
	uint32_t ids[2];
	struct slice question, answer;

	if (r->answers.given) {
		if (answer_first(&r->answers, ANSWER_USER, &question, &answer) &&
		    answer.len == sizeof(ids)) {
			memcpy(ids, answer.ptr, sizeof(ids));
			c->uid = ids[0];
			c->gid = ids[1];
		}
		return;
	}
	look_up(r, user, group);
	ids[0] = c->uid;
	ids[1] = c->gid;
	answer_keep(&r->answers, ANSWER_USER, slice_of(c->user),
		    (struct slice){ (const char *)ids, sizeof(ids) });
}

/* Reads `user` and `group`: a name or a number. */
#include "reader.h"

#include <grp.h>
#include <pwd.h>
#include <stdlib.h>

/* Used if the user database does not have the name, as in a container without one: the kernel's
 * overflow uid. */
#define NOBODY "nobody"
#define NOBODY_ID 65534u

/* UINT32_MAX means "no change" in system calls, so it is not a valid id. */
bool user_number(const char *text, uint32_t *id)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (text[0] < '0' || text[0] > '9' || *end || n >= UINT32_MAX)
		return false;
	*id = (uint32_t)n;
	return true;
}

static struct source_pos pos_or_start(const struct node *n)
{
	return n ? n->at : (struct source_pos){ 1, 1, 0 };
}

/* Sets the uid, and the gid of its primary group. False: a number that the user database does not
 * have, so the group is unknown. */
static bool find_user(struct config_reader *r, const struct node *n)
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
			&r->report, pos_or_start(n),
			"unknown user '%.*s'; write the name of an existing user, or a "
			"numeric uid",
			REPORT_ARG(slice_of(c->user)));
	}
	return pw || !is_number;
}

static void find_group(struct config_reader *r, const struct node *n)
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
			&r->report, pos_or_start(n),
			"unknown group '%.*s'; write the name of an existing group, or a "
			"numeric gid",
			REPORT_ARG(slice_of(c->group)));
}

static void user_find(struct config_reader *r, const struct node *user,
		      const struct node *group)
{
	const struct config *c = r->config;
	bool has_group = find_user(r, user);

	if (c->group[0] != '\0')
		find_group(r, group);
	else if (!has_group)
		report_error(
			&r->report, pos_or_start(user),
			"no user has this uid, so its group is unknown; write 'group: "
			"NUMBER' as well");
}

void user_read(struct config_reader *r, const struct node *user, const struct node *group)
{
	struct config *c = r->config;
	uint32_t ids[2];
	struct slice key, record;

	if (r->snapshot.replayed) {
		if (snapshot_first(&r->snapshot, RECORD_USER, &key, &record) &&
		    record.len == sizeof(ids)) {
			memcpy(ids, record.ptr, sizeof(ids));
			c->uid = ids[0];
			c->gid = ids[1];
		}
		return;
	}
	user_find(r, user, group);
	ids[0] = c->uid;
	ids[1] = c->gid;
	snapshot_add(&r->snapshot, RECORD_USER, slice_of(c->user),
		     (struct slice){ (const char *)ids, sizeof(ids) });
}

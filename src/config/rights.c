/* Reads mode, owner and group of a unix socket. */
#include "reader.h"

#include <grp.h>
#include <pwd.h>
#include <stdlib.h>

#define BITS_MAX 0777ul

/* Key of a RECORD_USER: "user NAME" or "group NAME". */
static struct slice record_key(struct config_reader *r, const char *what,
			       const char *name)
{
	return slice_of(arena_format(&r->scratch, "%s %s", what, name));
}

static bool find_name(const char *what, const char *name, uint32_t *id)
{
	const struct passwd *pw;
	const struct group *gr;

	if (strcmp(what, "user") == 0) {
		pw = getpwnam(name);
		*id = pw ? pw->pw_uid : 0;
		return pw != NULL;
	}
	gr = getgrnam(name);
	*id = gr ? gr->gr_gid : 0;
	return gr != NULL;
}

/* Resolves a name or number; a replayed snapshot has the result. Empty: CONFIG_RIGHTS_KEEP. */
static uint32_t id_read(struct config_reader *r, const struct node *n, const char *what,
			const char *name)
{
	struct slice key = record_key(r, what, name), record;
	uint32_t id = CONFIG_RIGHTS_KEEP;

	if (name[0] == '\0' || user_number(name, &id))
		return id;
	if (r->snapshot.replayed) {
		if (snapshot_find(&r->snapshot, RECORD_USER, key, &record) &&
		    record.len == sizeof(id))
			memcpy(&id, record.ptr, sizeof(id));
		return id;
	}
	if (find_name(what, name, &id))
		snapshot_add(&r->snapshot, RECORD_USER, key,
			     (struct slice){ (const char *)&id, sizeof(id) });
	else
		report_error(
			&r->report, n->at,
			"unknown %s '%.*s'; write the name of an existing %s, or a numeric %cid",
			what, REPORT_ARG(slice_of(name)), what, what[0]);
	return id;
}

static uint32_t bits_read(struct config_reader *r, const struct node *n, const char *mode)
{
	char *end;
	unsigned long bits = strtoul(mode, &end, 8);

	if (mode[0] == '\0')
		return CONFIG_RIGHTS_KEEP;
	if (mode[0] >= '0' && mode[0] <= '7' && *end == '\0' && bits <= BITS_MAX)
		return (uint32_t)bits;
	report_error(&r->report, n->at,
		     "'mode' cannot be '%.*s'; write up to four octal digits, such as 0660",
		     REPORT_ARG(slice_of(mode)));
	return CONFIG_RIGHTS_KEEP;
}

static void unix_only_refuse(struct config_reader *r, const struct node *n,
			     const char *key)
{
	report_error(&r->report, n->at,
		     "'%s' applies to unix sockets only; remove it, or write 'address: "
		     "unix:/PATH'",
		     key);
}

void rights_read(struct config_reader *r, const struct section_values *values,
		 const struct config_address *a, struct config_rights *rights)
{
	const struct node *mode = values->of[KEY_listen_mode];
	const struct node *owner = values->of[KEY_listen_owner];
	const struct node *group = values->of[KEY_listen_group];
	struct config *c = r->config;

	if (!mode && !owner && !group)
		return;
	if (a->sa.ss_family != AF_UNIX) {
		unix_only_refuse(r,
				 mode    ? mode
				 : owner ? owner
					 : group,
				 mode    ? "mode"
				 : owner ? "owner"
					 : "group");
		return;
	}
	rights->address = a;
	rights->bits = bits_read(r, mode, rights->mode);
	rights->uid = id_read(r, owner, "user", rights->owner);
	rights->gid = id_read(r, group, "group", rights->group);
	if (!c->rights)
		c->rights = arena_alloc(r->memory,
					(CONFIG_LISTENS_MAX + 1) * sizeof(c->rights[0]));
	ASSERT(c->rights_n <= CONFIG_LISTENS_MAX);
	c->rights[c->rights_n++] = *rights;
}

const struct config_rights *config_rights_of(const struct config *c,
					     const struct config_address *a)
{
	for (unsigned i = 0; i < c->rights_n; i++)
		if (c->rights[i].address == a)
			return &c->rights[i];
	return NULL;
}

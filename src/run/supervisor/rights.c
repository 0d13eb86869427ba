#include "rights.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/errorlog.h"

static bool report_error(const struct config_rights *r, const char *what,
			 const char *remedy)
{
	errorlog_put(EVENT_LISTEN_FAILED, "cannot change the %s of %s: %s; %s", what,
		     r->address->text, strerror(errno), remedy);
	return false;
}

/* Only its owner is sure to be permitted to change the mode of a file. Earlier starts may
 * have given the socket to another user: take it back first. */
static bool take_ownership(const struct config_rights *r, const char *path)
{
	struct stat st;

	if (lstat(path, &st) == 0 && (st.st_uid == geteuid() || geteuid() != 0))
		return true;
	return lchown(path, geteuid(), (gid_t)-1) == 0 ||
	       report_error(r, "owner", "is the socket still there?");
}

bool rights_apply(const struct config_rights *r)
{
	const struct sockaddr_un *un = (const void *)&r->address->sa;
	uid_t uid = r->uid == CONFIG_RIGHTS_KEEP ? (uid_t)-1 : (uid_t)r->uid;
	gid_t gid = r->gid == CONFIG_RIGHTS_KEEP ? (gid_t)-1 : (gid_t)r->gid;

	if (!take_ownership(r, un->sun_path))
		return false;
	if (r->bits != CONFIG_RIGHTS_KEEP && chmod(un->sun_path, r->bits) < 0)
		return report_error(r, "mode", "is the socket still there?");
	if (lchown(un->sun_path, uid, gid) < 0)
		return report_error(r, "owner",
				    "start as root with CAP_CHOWN, or remove 'owner' and "
				    "write a 'group' that you belong to");
	return true;
}

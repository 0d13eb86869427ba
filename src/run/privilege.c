#include "run/privilege.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/check.h"

#define CAPABILITY_SETS 2 /* of 32 each: version 3 of the call */

/* Bind ports below 1024; open logs and sockets in directories of other users; signal
 * worker processes of another user; become that user (SETUID, SETGID) and clear the
 * bounding set (SETPCAP); change the owner of unix sockets. */
static const unsigned kept[] = {
	CAP_NET_BIND_SERVICE, CAP_DAC_OVERRIDE, CAP_KILL, CAP_SETUID, CAP_SETGID, CAP_SETPCAP,
	CAP_CHOWN,
};

static int capabilities_get(struct __user_cap_data_struct sets[CAPABILITY_SETS])
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };

	return syscall(SYS_capget, &head, sets) < 0 ? -errno : 0;
}

static int capabilities_set(const struct __user_cap_data_struct sets[CAPABILITY_SETS])
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };

	return syscall(SYS_capset, &head, sets) < 0 ? -errno : 0;
}

int privilege_trim(void)
{
	struct __user_cap_data_struct sets[CAPABILITY_SETS];
	uint32_t keep[CAPABILITY_SETS] = { 0 };
	int error = capabilities_get(sets);

	if (error < 0)
		return error;
	for (size_t i = 0; i < COUNT(kept); i++)
		keep[kept[i] / 32] |= 1u << kept[i] % 32;
	for (unsigned i = 0; i < CAPABILITY_SETS; i++) {
		sets[i].permitted &= keep[i];
		sets[i].effective = sets[i].permitted;
		/* Ambient ones, of a service that is not root, stay for the program that an upgrade
		 * executes. */
		sets[i].inheritable = geteuid() == 0 ? 0 : sets[i].inheritable & keep[i];
	}
	return capabilities_set(sets);
}

/* The bounding set limits what an executed program could regain. Without CAP_SETPCAP it
 * cannot be cleared; then PR_SET_NO_NEW_PRIVS makes it useless. */
static void bounding_clear(void)
{
	for (unsigned long c = 0; prctl(PR_CAPBSET_READ, c, 0, 0, 0) >= 0; c++)
		if (prctl(PR_CAPBSET_DROP, c, 0, 0, 0) < 0)
			return;
}

static int groups_set(const struct config *config)
{
	const struct passwd *pw = getpwuid(config->uid);

	if (pw)
		return initgroups(pw->pw_name, config->gid);
	return setgroups(1, &config->gid);
}

static bool is_user_already(const struct config *config)
{
	return geteuid() == config->uid && getegid() == config->gid;
}

void privilege_hide_memory(void)
{
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
}

/* Not dumpable: other processes of the same user, which may be a shared "nobody", cannot trace
 * this one, and it writes no core file with data of clients. Sanitizers need it to be dumpable. */
static int become_user(const struct config *config)
{
	if (groups_set(config) < 0 ||
	    setresgid(config->gid, config->gid, config->gid) < 0 ||
	    setresuid(config->uid, config->uid, config->uid) < 0)
		return -errno;
	ASSERT(config->uid == 0 || setresuid((uid_t)-1, 0, (uid_t)-1) < 0);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
#endif
	privilege_hide_memory();
	return 0;
}

int privilege_drop(const struct config *config, const char **what)
{
	static const struct __user_cap_data_struct none[CAPABILITY_SETS];
	int error = 0;

	bounding_clear();
	*what = "become its user";
	if (geteuid() == 0 && !is_user_already(config))
		error = become_user(config);
	if (error < 0)
		return error;
	*what = "drop its capabilities";
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	error = capabilities_set(none);
	if (error < 0)
		return error;
	/* Also of a process that is not started as root. */
	if (config->pairs || config->has_secrets)
		privilege_hide_memory();
	*what = "set no_new_privs";
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

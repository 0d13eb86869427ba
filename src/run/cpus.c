#include "run/cpus.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_BYTES 8192
/* Largest CPU mask that is tried: the kernel refuses a mask that is too small for the
 * machine. */
#define CPUS_MAX 65536

/* ---- one group ------------------------------------------------------------ */

/* False: the file does not exist or has no number. */
static bool read_number(const char *group, const char *name, long long *value)
{
	char path[PATH_MAX];
	FILE *in = NULL;
	bool good;

	if (snprintf(path, sizeof(path), "%s/%s", group, name) < (int)sizeof(path))
		in = fopen(path, "re");
	if (!in)
		return false;
	good = fscanf(in, "%lld", value) == 1;
	fclose(in);
	return good;
}

/* cpu.max: "QUOTA PERIOD"; "max PERIOD" is no limit. */
static bool read_max(const char *group, long long *quota, long long *period)
{
	char path[PATH_MAX];
	FILE *in = NULL;
	bool good;

	if (snprintf(path, sizeof(path), "%s/cpu.max", group) < (int)sizeof(path))
		in = fopen(path, "re");
	if (!in)
		return false;
	good = fscanf(in, "%lld %lld", quota, period) == 2;
	fclose(in);
	return good;
}

/* 0: no limit. */
static unsigned cpus_of_group(const char *group, bool unified)
{
	long long quota, period;
	bool limited = unified ? read_max(group, &quota, &period) :
				 read_number(group, "cpu.cfs_quota_us", &quota) &&
				 read_number(group, "cpu.cfs_period_us", &period);

	if (!limited || quota <= 0 || period <= 0)
		return 0;
	return (unsigned)((quota + period - 1) / period);
}

static unsigned lower(unsigned a, unsigned b)
{
	return a == 0 || (b != 0 && b < a) ? b : a;
}

/* The lowest limit of the group and its parents, up to the mount point. */
static unsigned cpus_of_all(char *group, size_t mount_n, bool unified)
{
	unsigned n = cpus_of_group(group, unified);

	while (strlen(group) > mount_n) {
		*strrchr(group, '/') = '\0';
		n = lower(n, cpus_of_group(group, unified));
	}
	return n;
}

/* ---- where the groups are ------------------------------------------------- */

static bool has_word(const char *list, const char *word)
{
	size_t n = strlen(word);

	for (const char *at = list; (at = strstr(at, word)); at += n)
		if ((at == list || at[-1] == ',') && (at[n] == '\0' || at[n] == ','))
			return true;
	return false;
}

static bool is_octal(const char *digits)
{
	return strspn(digits, "01234567") >= 3;
}

/* mountinfo writes a space in a path as \040. */
static void unescape(char *path)
{
	char *to = path;

	for (const char *from = path; *from; to++) {
		bool escaped = *from == '\\' && is_octal(from + 1);

		*to = escaped ? (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 |
				       (from[3] - '0')) : *from;
		from += escaped ? 4 : 1;
	}
	*to = '\0';
}

/* A line of mountinfo: 3 numbers, the root within the file system, the mount point,
 * options, " - ", type, source, options of the file system. False: not the mount of a
 * cgroup hierarchy with the CPU controller. */
static bool parse_mount(char *line, bool unified, char **root, char **point)
{
	char *words[5], *tail = strstr(line, " - "), *type, *options, *save = NULL;

	if (!tail)
		return false;
	*tail = '\0';
	for (unsigned i = 0; i < 5; i++)
		if (!(words[i] = strtok_r(i ? NULL : line, " ", &save)))
			return false;
	type = strtok_r(tail + 3, " ", &save);
	strtok_r(NULL, " ", &save);
	options = strtok_r(NULL, " \n", &save);
	if (!type || !options || strcmp(type, unified ? "cgroup2" : "cgroup") != 0 ||
	    (!unified && !has_word(options, "cpu")))
		return false;
	*root = words[3];
	*point = words[4];
	unescape(*root);
	unescape(*point);
	return true;
}

/* `path` is relative to the root of the hierarchy, but perhaps only the part below `root`
 * is mounted, at `point`. */
static unsigned cpus_below(const char *before, const char *path, const char *root,
			   const char *point, bool unified)
{
	char group[PATH_MAX];
	size_t root_n = strcmp(root, "/") == 0 ? 0 : strlen(root);
	size_t mount_n = strlen(before) + strlen(point);

	if (strncmp(path, root, root_n) == 0 && (path[root_n] == '/' || path[root_n] == '\0'))
		path += root_n;
	else
		path = "";
	if (strcmp(path, "/") == 0 || strstr(path, "/.."))
		path = "";
	if (snprintf(group, sizeof(group), "%s%s%s", before, point, path) >= (int)sizeof(group))
		return 0;
	return cpus_of_all(group, mount_n, unified);
}

static unsigned cpus_of_path(const char *before, const char *path, bool unified)
{
	char name[PATH_MAX], *line = malloc(LINE_BYTES), *root, *point;
	FILE *in = NULL;
	unsigned n = 0;

	if (line && snprintf(name, sizeof(name), "%s/proc/self/mountinfo", before) <
			    (int)sizeof(name))
		in = fopen(name, "re");
	while (in && fgets(line, LINE_BYTES, in))
		if (parse_mount(line, unified, &root, &point))
			n = lower(n, cpus_below(before, path, root, point, unified));
	if (in)
		fclose(in);
	free(line);
	return n;
}

/* ---- all ------------------------------------------------------------------ */

/* Each line of /proc/self/cgroup is NUMBER:CONTROLLERS:PATH; version 2 has no
 * controllers. */
unsigned cpus_of_groups(const char *root)
{
	char name[PATH_MAX], line[PATH_MAX];
	FILE *in = NULL;
	unsigned n = 0;

	if (snprintf(name, sizeof(name), "%s/proc/self/cgroup", root) < (int)sizeof(name))
		in = fopen(name, "re");
	while (in && fgets(line, sizeof(line), in)) {
		char *controllers = strchr(line, ':');
		char *path = controllers ? strchr(controllers + 1, ':') : NULL;

		if (!path)
			continue;
		*path++ = '\0';
		path[strcspn(path, "\n")] = '\0';
		controllers++;
		if (controllers[0] == '\0' || has_word(controllers, "cpu"))
			n = lower(n, cpus_of_path(root, path, controllers[0] == '\0'));
	}
	if (in)
		fclose(in);
	return n;
}

/* The affinity mask of the calling thread, which the caller frees. NULL: it cannot be read. */
static cpu_set_t *mask_read(size_t *size)
{
	for (int most = 1024; most <= CPUS_MAX; most *= 2) {
		cpu_set_t *set = CPU_ALLOC(most);

		*size = CPU_ALLOC_SIZE(most);
		if (set && sched_getaffinity(0, *size, set) == 0 && CPU_COUNT_S(*size, set) > 0)
			return set;
		CPU_FREE(set);
	}
	return NULL;
}

static unsigned cpus_of_affinity(void)
{
	size_t size;
	cpu_set_t *set = mask_read(&size);
	unsigned n = set ? (unsigned)CPU_COUNT_S(size, set) : 1;

	CPU_FREE(set);
	return n;
}

unsigned cpus_usable(void)
{
	return lower(cpus_of_affinity(), cpus_of_groups(""));
}

/* ---- one ------------------------------------------------------------------ */

int cpus_of_worker(unsigned worker)
{
	size_t size;
	cpu_set_t *set = mask_read(&size);
	unsigned left;
	int cpu = -1;

	if (!set)
		return -1;
	left = worker % (unsigned)CPU_COUNT_S(size, set) + 1;
	while (left > 0)
		left -= CPU_ISSET_S((size_t)++cpu, size, set) ? 1 : 0;
	CPU_FREE(set);
	return cpu;
}

int cpus_pin(int cpu)
{
	cpu_set_t *set = CPU_ALLOC(cpu + 1);
	size_t size = CPU_ALLOC_SIZE(cpu + 1);
	int error;

	if (!set)
		return -ENOMEM;
	CPU_ZERO_S(size, set);
	CPU_SET_S((size_t)cpu, size, set);
	error = sched_setaffinity(0, size, set) < 0 ? -errno : 0;
	CPU_FREE(set);
	return error;
}

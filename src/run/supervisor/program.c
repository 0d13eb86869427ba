#include "program.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define THIS "/proc/self/exe"

static char path[PATH_MAX];

static bool is_this_program(void)
{
	struct stat a, b;

	return stat(path, &a) == 0 && stat(THIS, &b) == 0 && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
}

static bool is_in_folder(const char *folder, size_t folder_n, const char *name)
{
	int n = snprintf(path, sizeof(path), "%.*s/%s", (int)folder_n, folder, name);

	return path[0] == '/' && n < (int)sizeof(path) && is_this_program();
}

/* Searches PATH, as the shell did. */
static bool is_on_path(const char *name)
{
	const char *at = getenv("PATH");

	while (at && *at) {
		size_t n = strcspn(at, ":");

		if (is_in_folder(at, n, name))
			return true;
		at += n + (at[n] == ':');
	}
	return false;
}

static bool find_by_name(const char *name)
{
	char directory[PATH_MAX];

	if (!strchr(name, '/'))
		return is_on_path(name);
	if (name[0] == '/')
		return is_in_folder("", 0, name + 1);
	return getcwd(directory, sizeof(directory)) &&
	       is_in_folder(directory, strlen(directory), name);
}

const char *program_path(const char *name)
{
	ssize_t n;

	if (path[0] != '\0' || (name && find_by_name(name)))
		return path;
	n = readlink(THIS, path, sizeof(path) - 1);
	path[n > 0 ? n : 0] = '\0';
	return n > 0 ? path : NULL;
}

#include "run/file.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_current_directory(const char *directory)
{
	struct stat a, b;

	return directory && directory[0] == '/' && stat(directory, &a) == 0 &&
	       stat(".", &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static const char *current_directory(char *buffer, size_t size)
{
	const char *pwd = getenv("PWD");

	return is_current_directory(pwd) ? pwd : getcwd(buffer, size);
}

/* The element of argv whose end is `file`. */
static char **argument_of(char **argv, const char *file)
{
	for (; *argv; argv++)
		if (file >= *argv && file <= *argv + strlen(*argv))
			return argv;
	return NULL;
}

const char *file_from_root(char **argv, const char *file)
{
	char buffer[PATH_MAX], **argument = argument_of(argv, file), *whole;
	const char *directory = current_directory(buffer, sizeof(buffer));

	if (file[0] == '/' || strcmp(file, "-") == 0 || !argument || !directory)
		return file;
	if (asprintf(&whole, "%.*s%s/%s", (int)(file - *argument), *argument, directory, file) < 0)
		return file;
	file = whole + (file - *argument);
	*argument = whole;
	return file;
}

/* A file of users and hashes of their passwords, as htpasswd(1) writes it: "NAME:HASH" in each
 * line. What follows a second colon, empty lines and lines that begin with "#" are ignored. Pure.
 *
 * Owner: the configuration; names and hashes point into the text. Limits: USERS_MAX.
 * Errors: the line, and what is wrong with it, with a remedy. */
#ifndef RULES_USERS_H
#define RULES_USERS_H

#include "config/arena.h"

#define USERS_MAX 100000

struct user {
	struct slice name, hash;
};

struct users {
	unsigned n;
	struct user *all; /* by name */
};

struct users_fault {
	unsigned line;
	const char *text;
};

/* Reads the text of a file. False: *fault says why not. */
bool users_read(struct users *u, struct slice text, struct arena *memory,
		struct users_fault *fault);

/* NULL: there is no such user. */
const struct user *users_find(const struct users *u, struct slice name);

/* One of the users, always the same for a number: to spend the time of one on a name that is
 * nobody's. */
const struct user *users_any(const struct users *u, uint64_t number);

#endif

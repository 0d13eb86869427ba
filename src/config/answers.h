/* What the world said while a configuration was read: the text of the file, what names stood
 * for. With these the same is read again where no file can be opened and nobody be asked.
 *
 * A list of records, each: kind, length of the question, length of the answer, question,
 * answer. Both sides are the same program. */
#ifndef CONFIG_ANSWERS_H
#define CONFIG_ANSWERS_H

#include <stdbool.h>

#include "base/slice.h"

enum answer_kind {
	ANSWER_FILE,    /* question: its name; answer: its text */
	ANSWER_LISTEN,  /* what an address to listen on stands for */
	ANSWER_SERVER,  /* what that of a url stands for */
	ANSWER_NAME,    /* what that of an upstream's server stands for, and whether for long */
	ANSWER_USER,    /* the uid and gid of user and group */
};

struct answers {
	char *bytes; /* of malloc(), unless they were given */
	size_t n, room;
	size_t at;      /* behind what was found last: the next is mostly asked next */
	bool given;     /* they are there from the start, and nobody is to be asked */
};

/* What was kept, and nothing more than it: of malloc(), for the caller to free. */
struct slice answers_take(struct answers *a);

void answer_keep(struct answers *a, enum answer_kind kind, struct slice question,
		 struct slice answer);

/* False: it was not kept. */
bool answer_find(struct answers *a, enum answer_kind kind, struct slice question,
		 struct slice *answer);

/* The first record of a kind. */
bool answer_first(const struct answers *a, enum answer_kind kind, struct slice *question,
		  struct slice *answer);

#endif

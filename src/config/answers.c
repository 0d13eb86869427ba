#include "answers.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

struct record {
	uint32_t kind, question_n, answer_n;
};

void answer_keep(struct answers *a, enum answer_kind kind, struct slice question,
		 struct slice answer)
{
	struct record r = { kind, (uint32_t)question.len, (uint32_t)answer.len };
	size_t need = a->n + sizeof(r) + question.len + answer.len;

	if (need > a->room) {
		a->room = need + need / 2;
		a->bytes = realloc(a->bytes, a->room);
		ASSERT(a->bytes); /* as in arena.h */
	}
	memcpy(a->bytes + a->n, &r, sizeof(r));
	memcpy(a->bytes + a->n + sizeof(r), question.ptr, question.len);
	if (answer.len > 0)
		memcpy(a->bytes + a->n + sizeof(r) + question.len, answer.ptr, answer.len);
	a->n = need;
}

struct slice answers_take(struct answers *a)
{
	char *bytes = a->n > 0 ? realloc(a->bytes, a->n) : NULL;
	struct slice kept = { bytes ? bytes : a->bytes, a->n };

	*a = (struct answers){ 0 };
	return kept;
}

/* The record at *at, which is moved on; false: there is none. */
static bool next(const struct answers *a, size_t *at, struct record *r, struct slice *question,
		 struct slice *answer)
{
	const char *text = a->bytes + *at + sizeof(*r);
	size_t left = a->n - *at;

	if (left < sizeof(*r))
		return false;
	memcpy(r, a->bytes + *at, sizeof(*r));
	left -= sizeof(*r);
	if (left < r->question_n || left - r->question_n < r->answer_n)
		return false;
	*question = (struct slice){ text, r->question_n };
	*answer = (struct slice){ text + r->question_n, r->answer_n };
	*at += sizeof(*r) + r->question_n + r->answer_n;
	return true;
}

bool answer_find(struct answers *a, enum answer_kind kind, struct slice question,
		 struct slice *answer)
{
	size_t begin = a->at;
	struct slice asked;
	struct record r;

	for (int round = 0; round < 2; round++) {
		while (next(a, &a->at, &r, &asked, answer)) {
			if (r.kind == kind && slice_equal(asked, question))
				return true;
			if (round == 1 && a->at > begin)
				return false;
		}
		a->at = 0;
	}
	return false;
}

bool answer_first(const struct answers *a, enum answer_kind kind, struct slice *question,
		  struct slice *answer)
{
	struct record r;

	for (size_t at = 0; next(a, &at, &r, question, answer);)
		if (r.kind == kind)
			return true;
	return false;
}

/* Results of parsers: pure functions over the bytes that have arrived so far. */
#ifndef BASE_VERDICT_H
#define BASE_VERDICT_H

enum verdict {
	VERDICT_OK,   /* complete; the result is filled in */
	VERDICT_MORE, /* valid so far, but incomplete */
	VERDICT_BAD,  /* the peer's fault; the result holds the reason */
};

#endif

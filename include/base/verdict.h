/* What a pure function over bytes says of its input. */
#ifndef BASE_VERDICT_H
#define BASE_VERDICT_H

enum verdict {
	VERDICT_OK,   /* understood; the result is filled in */
	VERDICT_MORE, /* nothing wrong so far, but it does not end here */
	VERDICT_BAD,  /* the peer's fault; the reason is beside the result */
};

#endif

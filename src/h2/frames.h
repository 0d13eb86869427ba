/* Judges frames by their heads, before the library reads them: it ignores without a word what is
 * legal but odd, and some of what is not legal. Private to h2.
 *
 * Owner: the session. Limits: limits->oddities. Errors: h2_fail(). Source: RFC 9113 4.1, 5.1.1,
 * 10.5. */
#ifndef SRC_H2_FRAMES_H
#define SRC_H2_FRAMES_H

#include "h2/session.h"

/* How many of these bytes the library may read before the next call: all of them, or those before
 * a frame that can only be judged when the library has read what is before it. At least one,
 * unless the session has failed. */
size_t frames_judge(struct h2_session *s, struct slice bytes);

/* Work was done for the peer that it has a right to: so much more that is odd may come. */
void frames_excuse(struct h2_session *s);

/* We have reset this stream. */
void frames_remember_reset(struct h2_session *s, int32_t id);

#endif

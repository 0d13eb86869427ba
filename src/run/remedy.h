/* What an operator can do where the system has refused something, by the error it gave: the
 * second half of a message whose first says what was tried and strerror(). */
#ifndef RUN_REMEDY_H
#define RUN_REMEDY_H

/* error: an errno, of either sign. */
const char *remedy_of(int error);

#endif

/* Advice for the operator when a system call failed, by its error: the second half of an
 * error message whose first half has the failed operation and strerror(). */
#ifndef RUN_REMEDY_H
#define RUN_REMEDY_H

/* error: an errno, positive or negative. */
const char *remedy_of(int error);

#endif

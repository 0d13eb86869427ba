/* Parts of the kernel's io_uring interface that liburing 2.3 does not declare.
 *
 * Their values are stable ABI; probe.c finds out at start whether the running kernel has
 * them. IORING_SETUP_NO_SQARRAY is left out on purpose: it corrupts a ring mapped by
 * liburing 2.3 (kernel-notes/29-a-trap-not-sprung). */
#ifndef IO_ABI_H
#define IO_ABI_H

#include <liburing.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifndef IORING_ENTER_NO_IOWAIT
#define IORING_ENTER_NO_IOWAIT (1U << 7)
#define IORING_FEAT_NO_IOWAIT (1U << 17)
#endif

#ifndef IORING_FEAT_MIN_TIMEOUT
#define IORING_FEAT_MIN_TIMEOUT (1U << 15)
#endif

/* Linux 6.12 names the padding before `ts` min_wait_usec. */
static inline void getevents_set_min_wait(struct io_uring_getevents_arg *arg, uint32_t us)
{
	memcpy((char *)arg + offsetof(struct io_uring_getevents_arg, ts) - sizeof(us), &us,
	       sizeof(us));
}

#ifndef IORING_RECVSEND_BUNDLE
#define IORING_RECVSEND_BUNDLE (1U << 4)
#define IORING_FEAT_RECVSEND_BUNDLE (1U << 14)
#endif

/* optlen of a multishot receive (the total of bytes after which it ends, Linux 6.17)
 * shares its place with file_index of other operations. */
static inline void sqe_set_optlen(struct io_uring_sqe *sqe, unsigned bytes)
{
	sqe->file_index = bytes;
}

#endif

/* Where does the installed liburing put the array of a ring that has none?
 *
 * Such a ring is never made here: entered through liburing 2.3 it spins inside the kernel
 * and survives SIGKILL. The ring below is an ordinary one. liburing maps it once more
 * with the flag and the offset that the kernel would have reported. It is never entered. */
#include <errno.h>
#include <liburing.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Linux 6.6, liburing 2.6. In this file it is passed to liburing only, never to the
 * kernel. */
#define SETUP_NO_SQARRAY (1u << 16)

static int failed;

static void claim(bool holds, const char *text)
{
	printf("claim: %s: %s\n", text, holds ? "holds" : "DOES NOT HOLD");
	failed |= !holds;
}

/* A precondition that is not under test. If it is missing the program ends here: with 77,
 * or with 1 if a claim has failed already. */
static void need(bool ok, const char *what)
{
	if (ok)
		return;
	printf("cannot be judged here without %s: %s\n", what, strerror(errno));
	exit(failed ? 1 : 77);
}

static bool ends_before(const struct io_sqring_offsets *off, uint32_t there)
{
	return off->head < there && off->tail < there && off->ring_mask < there &&
	       off->ring_entries < there && off->flags < there && off->dropped < there;
}

/* setup_queues() relies on this: the array is there, behind everything else, and overlaps
 * nothing. */
static void ordinary(void)
{
	struct io_uring_params params = { .flags = IORING_SETUP_SINGLE_ISSUER |
						   IORING_SETUP_DEFER_TASKRUN };
	struct io_uring ring;
	bool kept = true;
	unsigned entries;

	errno = -io_uring_queue_init_params(8, &ring, &params);
	need(errno == 0, "io_uring_setup");
	entries = ring.sq.ring_entries;
	claim(params.sq_off.array > 0 && ends_before(&params.sq_off, params.sq_off.array),
	      "an ordinary ring has its array behind head, tail and sizes");
	for (unsigned i = 0; i < entries; i++)
		ring.sq.array[i] = i;
	kept &= *ring.sq.khead == 0 && *ring.sq.ktail == 0 && entries == 8;
	kept &= *ring.sq.kring_mask == 7 && *ring.cq.khead == 0 && *ring.cq.ktail == 0;
	claim(kept, "filling the array changes none of them");
	io_uring_queue_exit(&ring);
}

static bool is_in(const struct io_uring *ring, const unsigned *word)
{
	return word >= ring->sq.array && word < ring->sq.array + ring->sq.ring_entries;
}

/* The kernel reports 0 as the offset if there is no array. */
static void as_if_without(void)
{
	struct io_uring_params params = { 0 };
	struct io_uring ring;
	int fd = io_uring_setup(8, &params);

	errno = -fd;
	need(fd >= 0, "io_uring_setup");
	params.sq_off.array = 0;
	params.flags |= SETUP_NO_SQARRAY;
	memset(&ring, 0, sizeof(ring));
	errno = -io_uring_queue_mmap(fd, &params, &ring);
	need(errno == 0, "the mapping");
	errno = EINVAL;
	need(ring.sq.array != NULL,
	     "a liburing that does not know rings without an array");
	claim(is_in(&ring, ring.sq.khead) && is_in(&ring, ring.sq.ktail),
	      "this liburing takes the head and tail of the queue for the array of a "
	      "ring that has none, and would write its indices there");
	/* Unmapped as the ordinary ring that it is. */
	ring.flags = 0;
	ring.ring_fd = ring.enter_ring_fd = fd;
	io_uring_queue_exit(&ring);
}

int main(void)
{
	ordinary();
	as_if_without();
	return failed;
}

#include "run/handover.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

struct letter {
	unsigned kind, worker;
};

union control {
	char room[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

static void attach(struct msghdr *msg, union control *control, int fd)
{
	struct cmsghdr *c;

	memset(control, 0, sizeof(*control));
	msg->msg_control = control->room;
	msg->msg_controllen = sizeof(control->room);
	c = CMSG_FIRSTHDR(msg);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
}

int handover_send(int channel, const struct handover *h)
{
	struct letter letter = { h->kind, h->worker };
	struct iovec iov = { &letter, sizeof(letter) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	union control control;

	if (h->fd >= 0)
		attach(&msg, &control, h->fd);
	return sendmsg(channel, &msg, MSG_NOSIGNAL) == sizeof(letter) ? 0 : -errno;
}

int handover_receive(int channel, struct handover *h)
{
	struct letter letter;
	struct iovec iov = { &letter, sizeof(letter) };
	union control control;
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.room,
			      .msg_controllen = sizeof(control.room) };
	ssize_t n = recvmsg(channel, &msg, MSG_CMSG_CLOEXEC | MSG_WAITALL);
	const struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	if (n != sizeof(letter))
		return n < 0 ? -errno : -EPIPE;
	h->kind = (enum handover_kind)letter.kind;
	h->worker = letter.worker;
	h->fd = -1;
	if (c && c->cmsg_type == SCM_RIGHTS)
		memcpy(&h->fd, CMSG_DATA(c), sizeof(int));
	return h->fd < 0 && h->kind != HANDOVER_END ? -EPROTO : 0;
}

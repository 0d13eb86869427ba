#include "run/handover.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

struct handover_header {
	unsigned kind, worker, value, index;
};

union fd_control {
	char bytes[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

static void attach(struct msghdr *msg, union fd_control *control, int fd)
{
	struct cmsghdr *c;

	memset(control, 0, sizeof(*control));
	msg->msg_control = control->bytes;
	msg->msg_controllen = sizeof(control->bytes);
	c = CMSG_FIRSTHDR(msg);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
}

int handover_send(int channel, const struct handover *h)
{
	struct handover_header header = { h->kind, h->worker, h->value, h->index };
	struct iovec iov = { &header, sizeof(header) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	union fd_control control;

	if (h->fd >= 0)
		attach(&msg, &control, h->fd);
	return sendmsg(channel, &msg, MSG_NOSIGNAL) == sizeof(header) ? 0 : -errno;
}

bool handover_lacks_fd(const struct handover *h)
{
	switch (h->kind) {
	case HANDOVER_LISTENER:
	case HANDOVER_ADMIN:
	case HANDOVER_LOG:
	case HANDOVER_KEYLOG:
	case HANDOVER_ERROR_LOG:
		return h->fd < 0;
	case HANDOVER_CONFIG:
	case HANDOVER_LISTENER_KEPT:
	case HANDOVER_ADMIN_KEPT:
	case HANDOVER_LOG_KEPT:
	case HANDOVER_END:
		break;
	}
	return false;
}

int handover_receive(int channel, struct handover *h)
{
	struct handover_header header;
	struct iovec iov = { &header, sizeof(header) };
	union fd_control control;
	/* At the limit of open descriptors the kernel discards the one that arrives. */
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.bytes,
			      .msg_controllen = sizeof(control.bytes) };
	ssize_t n = recvmsg(channel, &msg, MSG_CMSG_CLOEXEC | MSG_WAITALL);
	const struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	if (n != sizeof(header))
		return n < 0 ? -errno : -EPIPE;
	h->kind = (enum handover_kind)header.kind;
	h->worker = header.worker;
	h->value = header.value;
	h->index = header.index;
	h->fd = -1;
	if (c && c->cmsg_type == SCM_RIGHTS)
		memcpy(&h->fd, CMSG_DATA(c), sizeof(int));
	return 0;
}

/* A blocking socket sends all bytes, unless SO_SNDTIMEO expires. */
int handover_send_bytes(int channel, const void *bytes, size_t n)
{
	ssize_t sent = send(channel, bytes, n, MSG_NOSIGNAL);

	return sent < 0 ? -errno : (size_t)sent == n ? 0 : -EAGAIN;
}

/* With recvmsg(), which the sandbox permits on this socket. */
int handover_receive_bytes(int channel, void *bytes, size_t n)
{
	struct iovec iov = { bytes, n };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t got = recvmsg(channel, &msg, MSG_WAITALL);

	return got < 0 ? -errno : (size_t)got == n ? 0 : -EPIPE;
}

/* What the supervisor gives to the worker process, over a socketpair of its own: what each is,
 * with the descriptor itself (SCM_RIGHTS) or the bytes that follow. Blocking: a setup is
 * taken as it is sent, at the start and after the word CHANNEL_LOAD. */
#ifndef RUN_HANDOVER_H
#define RUN_HANDOVER_H

#include <stdbool.h>
#include <stddef.h>

enum handover_kind {
	HANDOVER_CONFIG,   /* `value` bytes follow: the snapshot of a configuration */
	HANDOVER_LISTENER, /* of worker `worker`; `value` is the number of its address */
	HANDOVER_LISTENER_KEPT, /* no descriptor: listeners of this number stay */
	HANDOVER_ADMIN,
	HANDOVER_ADMIN_KEPT,
	HANDOVER_LOG,      /* of worker `worker`; `value`: it is a file */
	HANDOVER_LOG_KEPT, /* no descriptor: the workers go on with the log they have */
	HANDOVER_END,      /* no descriptor: that was all */
};

struct handover {
	enum handover_kind kind;
	unsigned worker, value;
	int fd; /* -1: none; the receiver's own from then on */
};

/* Words, one byte each, over another socketpair. To the worker process: */
#define CHANNEL_DRAIN 'D'
#define CHANNEL_DRAIN_GRACEFULLY 'T' /* another worker process has the listeners now */
#define CHANNEL_LOAD 'L'   /* a setup follows: another configuration */
/* To the supervisor: */
#define CHANNEL_READY_RING 'R' /* the engine that it has got */
#define CHANNEL_READY_EPOLL 'E'
#define CHANNEL_ADOPTED 'A'
#define CHANNEL_REFUSED 'N'

/* 0 or a negative errno. The sender keeps its descriptor. */
int handover_send(int channel, const struct handover *h);
int handover_send_bytes(int channel, const void *bytes, size_t n);

int handover_receive(int channel, struct handover *h);

/* The descriptor that belongs to it has not arrived: the receiver has no room for more. */
bool handover_lacks_fd(const struct handover *h);

int handover_receive_bytes(int channel, void *bytes, size_t n);

#endif

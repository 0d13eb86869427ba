/* Descriptors from the supervisor to the worker process, over a socketpair: what each is,
 * and the descriptor itself (SCM_RIGHTS). Blocking; used before the loops run. */
#ifndef RUN_HANDOVER_H
#define RUN_HANDOVER_H

enum handover_kind {
	HANDOVER_LISTENER, /* of worker `worker` */
	HANDOVER_ADMIN,
	HANDOVER_LOG,
	HANDOVER_END,      /* no descriptor: that was all */
};

struct handover {
	enum handover_kind kind;
	unsigned worker;
	int fd; /* -1 with HANDOVER_END; the receiver's own from then on */
};

/* Bytes that follow, one each. */
#define CHANNEL_DRAIN 'D' /* supervisor to worker process */
#define CHANNEL_READY 'R' /* worker process to supervisor */

/* 0 or a negative errno. The sender keeps its descriptor. */
int handover_send(int channel, const struct handover *h);
int handover_receive(int channel, struct handover *h);

#endif

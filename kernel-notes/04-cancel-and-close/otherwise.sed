# The close comes before the cancel.
s/entry(IORING_OP_ASYNC_CANCEL, op ? -1 : fd, 2)/entry(IORING_OP_CLOSE, fd, 2)/

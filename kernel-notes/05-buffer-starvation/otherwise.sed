# A receive is tried when it is armed, instead of waiting first.
s/sqe->ioprio = IORING_RECVSEND_POLL_FIRST;/sqe->ioprio = 0;/

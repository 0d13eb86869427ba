# A receive waits before it is tried no more.
s/sqe->ioprio = IORING_RECVSEND_POLL_FIRST;/sqe->ioprio = 0;/

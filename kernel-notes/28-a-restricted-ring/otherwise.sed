# Opening files is on the list.
s/sqe_op = IORING_OP_RECV;/sqe_op = IORING_OP_OPENAT;/

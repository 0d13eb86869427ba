# The list permits opening files.
s/sqe_op = IORING_OP_RECV;/sqe_op = IORING_OP_OPENAT;/

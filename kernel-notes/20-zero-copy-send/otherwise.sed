# The send under test is an ordinary one.
s/IORING_OP_SEND_ZC, pair\[0\], 16384)->ioprio = REPORT_USAGE/IORING_OP_SEND, pair[0], 16384)/

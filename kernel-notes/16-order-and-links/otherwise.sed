# Nothing is linked.
s/IOSQE_IO_LINK/0/g

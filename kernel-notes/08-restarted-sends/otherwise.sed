# The second send starts when the first has completed.
s/\tneed(p.revents \& POLLOUT, "space in the socket");/\tfor (int i = 0; i < 2000 \&\& io_uring_cq_ready(\&ring) == 0; i++) {\n\t\tread_available(pair[1], \&s);\n\t\tenter(1, 1, IORING_ENTER_GETEVENTS);\n\t}/

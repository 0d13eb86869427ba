# The listener is not told.
/^\tsetsockopt(listener, IPPROTO_TCP, TCP_NODELAY/d;s/const int on = 1;//

# TCP_NODELAY is not set on the listener.
/^\tsetsockopt(listener, IPPROTO_TCP, TCP_NODELAY/d;s/const int on = 1;//

# The socket is not shut down.
s/shutdown(server, SHUT_WR);/;/

# The second listener has another port.
s/listeners\[1\] = listen_one();/at.sin_port = 0;\n\tlisteners[1] = listen_one();/

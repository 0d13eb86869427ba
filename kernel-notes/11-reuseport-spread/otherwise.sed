# The second listener's port is another.
s/listeners\[1\] = listen_one();/at.sin_port = 0;\n\tlisteners[1] = listen_one();/

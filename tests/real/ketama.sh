#!/bin/sh
# Compares the servers that ketama.c and libmemcached choose for keys, in a program that make
# links with libmemcached (see tools/packages); without libmemcached the test fails.
# once
set -eu
exec "$TOOLS/ketama_check"

#!/bin/sh
# Compares where ketama.c and libmemcached itself put keys, in a program that make has
# linked with libmemcached (tools/packages lists it); without it this fails.
# once
set -eu
exec "$TOOLS/ketama_check"

#!/bin/sh
# Compares where ketama.c and libmemcached itself put keys. Fails where libmemcached is
# not there (tools/packages lists it).
set -eu
cd "$(dirname "$0")/../.."

out=${BUILD:-build}/real
mkdir -p "$out"
# shellcheck disable=SC2046 # lists of words
${CC:-gcc} -std=gnu11 -O2 -Wall -Wextra -D_GNU_SOURCE -Iinclude \
	$(pkg-config --cflags libmemcached libcrypto) \
	tests/real/ketama_check.c src/back/ketama.c src/base/check.c \
	-o "$out/ketama_check" $(pkg-config --libs libmemcached libcrypto) -lm
"$out/ketama_check"

#!/bin/sh
# Rebuilds ipip.bpf.o from ipip.bpf.c:  ./build.sh [OBJECT]
# Needs: clang, libbpf-dev, linux-libc-dev. Only for a change of the source: the object is in
# the repository, and running it needs none of them.
set -eu
cd "$(dirname "$0")"
object=${1:-ipip.bpf.o}
digest=$(sha256sum ipip.bpf.c | cut -d ' ' -f 1)
# No debug information, no unwind tables: nothing in the object depends on this machine's paths,
# and no section needs relocations. Little-endian, as every machine that the loader knows.
exec "${CLANG:-clang}" -target bpfel -mcpu=v2 -O2 -std=gnu11 -Wall -Wextra -Werror \
    -g0 -fno-asynchronous-unwind-tables -fno-addrsig \
    -isystem "/usr/include/$(uname -m)-linux-gnu" \
    -DSOURCE_SHA256="\"$digest\"" \
    -c ipip.bpf.c -o "$object"

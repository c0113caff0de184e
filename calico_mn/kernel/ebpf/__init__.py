"""tunl0 for a kernel without the ipip module: a TUN device and three stateless eBPF programs.

``ipip.bpf.c`` says what happens to a packet; the object next to it is what is loaded. No other
program (clang, bpftool, tc) is needed to use it.
"""

from pathlib import Path

#: the programs, compiled
OBJECT = Path(__file__).with_name("ipip.bpf.o")

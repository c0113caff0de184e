/* Lets a User-Mode-Linux kernel older than 6.13 run on a processor with AMX; preloaded by umlrun.
 *
 * Such a kernel keeps 2696 bytes of a process's extended registers (arch/x86/um/user-offsets.c,
 * HOST_FP_SIZE), enough up to AVX-512 and PKRU. The machine's kernel accepts only the processor's
 * full size (xstateregs_set() in arch/x86/kernel/fpu/regset.c), 11008 bytes with AMX, so that
 * setting them fails and the guest's first process dies. Here the short state is completed:
 * what it lacks is only AMX's tiles, which no process of a guest can hold.
 *
 * Build: cc -shared -fPIC -O2 -o xstate.so xstate.c
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#define REGSET_XSTATE 0x202 /* NT_X86_XSTATE in <linux/elf.h> */
#define XSTATE_BV 512       /* offset of the bitmap of the components in use */
#define AMX_COMPONENTS (UINT64_C(3) << 17)

static long (*libc_ptrace)(int request, ...);

__attribute__((constructor)) static void find_libc_ptrace(void)
{
	libc_ptrace = (long (*)(int, ...))dlsym(RTLD_NEXT, "ptrace");
}

static long set_xstate(int pid, const struct iovec *given)
{
	/* Static: UML calls from small stacks of its own, and from one thread only. */
	static _Alignas(64) unsigned char state[65536];
	static size_t full;
	uint64_t in_use;

	if (!full) {
		struct iovec whole = { state, sizeof state };
		long error = libc_ptrace(PTRACE_GETREGSET, pid, (void *)REGSET_XSTATE, &whole);

		if (error)
			return error;
		full = whole.iov_len;
		memset(state, 0, sizeof state);
	}
	if (given->iov_len >= full || given->iov_len < XSTATE_BV + sizeof in_use)
		return libc_ptrace(PTRACE_SETREGSET, pid, (void *)REGSET_XSTATE, given);

	memcpy(state, given->iov_base, given->iov_len);
	memcpy(&in_use, state + XSTATE_BV, sizeof in_use);
	in_use &= ~AMX_COMPONENTS;
	memcpy(state + XSTATE_BV, &in_use, sizeof in_use);
	return libc_ptrace(PTRACE_SETREGSET, pid, (void *)REGSET_XSTATE,
			   &(struct iovec){ state, full });
}

long ptrace(enum __ptrace_request request, ...)
{
	va_list arguments;
	int pid;
	void *address, *data;

	va_start(arguments, request);
	pid = va_arg(arguments, int);
	address = va_arg(arguments, void *);
	data = va_arg(arguments, void *);
	va_end(arguments);
	if (request == PTRACE_SETREGSET && (uintptr_t)address == REGSET_XSTATE)
		return set_xstate(pid, data);
	return libc_ptrace(request, pid, address, data);
}

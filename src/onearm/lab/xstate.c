/* Lets linux.uml restore registers on a CPU whose xstate is larger than the buffer it has for it.
 *
 * The guest kernel saves and restores its processes' registers with ptrace(NT_X86_XSTATE) through a
 * buffer of fixed size. Reading is cut to the buffer, but the kernel takes only the full set back
 * (EFAULT otherwise), and the guest panics: "ptrace set fp regs failed". So a short set is laid over
 * the full one of that very process, which is then written whole. Preloaded by lab/uml.py.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FULL_SIZE = 16384 }; /* with AMX it is 11 KiB */

static long set_xstate(long pid, const struct iovec *given)
{
	static __thread unsigned char full[FULL_SIZE] __attribute__((aligned(64)));
	struct iovec whole = { full, sizeof full };

	if (syscall(SYS_ptrace, PTRACE_GETREGSET, pid, NT_X86_XSTATE, &whole) != 0)
		return -1;
	if (given->iov_len >= whole.iov_len)
		return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, NT_X86_XSTATE, given);
	memcpy(full, given->iov_base, given->iov_len);
	return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, NT_X86_XSTATE, &whole);
}

/* The C library's own ptrace hands the word of a PEEK back as its result; so does this one. */
long ptrace(enum __ptrace_request request, ...)
{
	va_list arguments;
	va_start(arguments, request);
	long pid = va_arg(arguments, long);
	void *address = va_arg(arguments, void *);
	void *data = va_arg(arguments, void *);
	va_end(arguments);

	if (request == PTRACE_SETREGSET && (long)address == NT_X86_XSTATE)
		return set_xstate(pid, data);
	if (request >= PTRACE_PEEKTEXT && request <= PTRACE_PEEKUSER) {
		long word = 0;
		long failed = syscall(SYS_ptrace, request, pid, address, &word);
		return failed ? failed : word;
	}
	return syscall(SYS_ptrace, request, pid, address, data);
}

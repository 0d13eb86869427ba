#include "run/remedy.h"

#include <errno.h>
#include <stdlib.h>

const char *remedy_of(int error)
{
	switch (abs(error)) {
	case EMFILE:
		return "raise the limit of descriptors ('LimitNOFILE=' of systemd, 'ulimit -n')";
	case ENFILE:
		return "raise the limit of descriptors of the system (sysctl fs.file-max)";
	case ENOMEM:
	case ENOBUFS:
		return "raise the memory limit of the control group ('MemoryMax=' of systemd, "
		       "'--memory' of docker run)";
	case EAGAIN:
		return "raise the limit of processes and threads ('TasksMax=' of systemd, "
		       "'--pids-limit' of docker run, 'ulimit -u')";
	case ENOSYS:
	case EPERM:
		return "a seccomp filter or security module may refuse it: allow it there "
		       "(examples/seccomp.json has all system calls that are needed)";
	case EACCES:
		return "give the user that fairlead runs as access to it";
	case ENOSPC:
		return "free space on its file system";
	}
	return "correct what the error names";
}

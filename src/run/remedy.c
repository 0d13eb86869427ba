#include "remedy.h"

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
		       "(examples/seccomp.json has all that is needed)";
	case EACCES:
		return "give the user that fairlead runs as the right to it";
	case ENOSPC:
		return "make room where it is written";
	}
	return "the error says what is in the way";
}

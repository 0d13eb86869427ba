/* The CPUs that this process may use: their number, which is that of its affinity mask, but no
 * more than the CPU quota of its control groups (cpu.max of version 2; cpu.cfs_quota_us
 * of version 1), rounded up.
 *
 * The quotas of parent groups count as well, as far as they are visible here. A file that
 * cannot be read is no limit. */
#ifndef RUN_CPUS_H
#define RUN_CPUS_H

/* The limit of the control groups, at least 1; 0: no limit. `root` is prepended to all
 * paths: "" except in tests. */
unsigned cpus_of_groups(const char *root);

/* At least 1. */
unsigned cpus_usable(void);

/* The CPU of worker `worker`: the CPUs of the calling thread's affinity mask are counted round.
 * -1: the mask cannot be read. */
int cpus_of_worker(unsigned worker);

/* From now on the calling thread, and those that it makes, run on this CPU only. Returns 0 or a
 * negative errno. */
int cpus_pin(int cpu);

#endif

/* How many CPUs this process may use: those of its affinity, and no more than its control groups
 * give it time of (cpu.max of version 2; cpu.cfs_quota_us of version 1), rounded up.
 *
 * A control group is limited by those above it too, as far as they can be seen from here. What
 * cannot be read limits nothing. */
#ifndef RUN_CPUS_H
#define RUN_CPUS_H

/* Of the control groups alone, at least 1; 0: no limit. `root` stands before all paths: "" but
 * for tests. */
unsigned cpus_of_groups(const char *root);

/* At least 1. */
unsigned cpus_usable(void);

#endif

/* The path of this program, for executing it again at an upgrade.
 *
 * The path is found from argv[0], as a shell does, and not from /proc/self/exe: where
 * releases are switched by a symbolic link, the kernel's path would always lead to the
 * old release. */
#ifndef RUN_SUPERVISOR_PROGRAM_H
#define RUN_SUPERVISOR_PROGRAM_H

/* The path, determined at the first call; `name` is argv[0]. A path that does not lead to
 * the running program is not used; then it is the target of /proc/self/exe. NULL: not
 * known. */
const char *program_path(const char *name);

#endif

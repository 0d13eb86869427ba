/* Where the program of this process is found when it is started once more.
 *
 * By the name that it was started with: where releases are switched by a symbolic link, the
 * kernel's own answer (/proc/self/exe) stands for the one of before for ever. */
#ifndef RUN_PROGRAM_H
#define RUN_PROGRAM_H

/* The path, as it was found at the first call, for ever; `name` is argv[0]. What does not lead to
 * this very program is not believed. NULL: not known. */
const char *program_path(const char *name);

#endif

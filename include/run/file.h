/* The path of the configuration, kept for as long as the program runs, and for the one that takes
 * its place: by then the directory it was started in may be another of the same name, or gone. */
#ifndef RUN_FILE_H
#define RUN_FILE_H

/* `file`, which is one of `argv` or the end of one, as a path from the root, in `argv` too. The
 * directory is the one that the shell says (PWD), if it is that: with its symbolic links, which are
 * followed anew each time. "-" stays, and so does what cannot be told. */
const char *file_from_root(char **argv, const char *file);

#endif

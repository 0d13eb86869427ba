/* The path of the configuration file, made absolute. At an upgrade the next program opens
 * it too, when the directory that this one started in may have been moved, replaced or
 * removed. */
#ifndef RUN_FILE_H
#define RUN_FILE_H

/* `file` is an element of `argv` or the end of one (--config=FILE). Returns its absolute
 * path, which also replaces it in `argv`. The current directory is taken from PWD if that
 * is correct: so symbolic links in it are followed again at each use. Returns `file`
 * unchanged if it is "-", is absolute, or if the directory is not known. The path is
 * never freed. */
const char *file_from_root(char **argv, const char *file);

#endif

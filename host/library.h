/* library.h - shared libraries that are opened when they are first needed.
 *
 * Whoever needs one keeps a static ab_library and a table of its functions,
 * and fills the table once, under pthread_once: a library is one for the whole
 * process and stays open for good. */
#ifndef AB_LIBRARY_H
#define AB_LIBRARY_H

typedef struct ab_library {
    const char *soname; /* static: "libcurl.so.4" */
    void *handle;       /* NULL: not open */
    char trouble[256];  /* why it could not be opened or lacks a function */
} ab_library;

/* 1, or 0 with the reason in `trouble`. */
int ab_library_open(ab_library *library);

/* Puts the function `name` into *slot, a pointer to a function: 1, or 0 with
 * the reason in `trouble`.  Finds those of the libraries it depends on, too. */
int ab_library_find(ab_library *library, const char *name, void *slot);

#endif

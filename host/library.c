/* library.c - see library.h. */
#include "library.h"
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

int ab_library_open(ab_library *library)
{
    library->handle = dlopen(library->soname, RTLD_NOW | RTLD_LOCAL);
    if (library->handle)
        return 1;
    const char *why = dlerror();
    if (why)
        snprintf(library->trouble, sizeof library->trouble, "%s", why);
    else
        snprintf(library->trouble, sizeof library->trouble, "cannot open %s",
                 library->soname);
    return 0;
}

int ab_library_find(ab_library *library, const char *name, void *slot)
{
    void *symbol = dlsym(library->handle, name);
    if (!symbol) {
        snprintf(library->trouble, sizeof library->trouble, "%s has no %s",
                 library->soname, name);
        return 0;
    }
    /* ISO C knows no cast from void * to a function. */
    memcpy(slot, &symbol, sizeof symbol);
    return 1;
}

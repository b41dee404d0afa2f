/* modules.h - the table of all modules, which api.c gives to every box. */
#ifndef AB_MODULES_H
#define AB_MODULES_H

struct ab_module;

/* An array that ends with a NULL name. */
const struct ab_module *ab_modules_all(void);

#endif

/* outcome.h - how a task or future has ended. The rest is in sched.h. */
#ifndef AB_OUTCOME_H
#define AB_OUTCOME_H

#include "sched.h"
#include <lua.h>

/* All of these work on the task whose userdata lies on L below the values they
 * take; none raises. */

/* Stores the n results on top of L (popped). */
void ab_outcome_store(lua_State *L, ab_task *task, int n);

/* Stores the error on top of L (popped), with its traceback if it was noted. */
void ab_outcome_fail(lua_State *L, ab_task *task);

/* Its outcome is that memory ran out. */
void ab_outcome_no_memory(lua_State *L, ab_task *task);

/* Calls fn(userdata, values) protected, with the n values on top of L
 * (popped); when it fails, its error becomes the outcome. */
void ab_outcome_call(lua_State *L, ab_task *task, lua_CFunction fn, int n);

/* Did the task on top of L end because it was cancelled? */
int ab_outcome_is_cancelled(lua_State *L, const ab_task *task);

/* Nobody has seen the error of the task on top of L yet: it is reported when
 * the task is collected or the script ends, unless ab_task_taken comes first.
 */
void ab_outcome_keep_failure(lua_State *L, ab_task *task);

#endif

/* report.h - what a box says to people: tracebacks, lost errors, deadlocks. */
#ifndef AB_REPORT_H
#define AB_REPORT_H

#include "sched.h"
#include <lua.h>
#include <stddef.h>

/* Sends a text (a final newline is added) to the host's report function. */
void ab_report(ab_box *box, const char *text, size_t bytes);

/* Message handler of tasks and of protected calls inside asyncbox that pass
 * the error on: notes the traceback beside the error, which stays as it is. */
int ab_report_handler(lua_State *L);

/* Raises the error on top of the stack again: its traceback stays that of
 * where it was raised first. */
int ab_report_rethrow(lua_State *L);

/* Notes error and traceback (on top of the stack, popped) of a task, by its
 * number; never raises.  get_trace pushes the traceback of the error at idx if
 * it was noted last: 1, else 0 and nothing. */
void ab_report_set_trace(lua_State *L, uint32_t task);
int ab_report_get_trace(lua_State *L, int idx);

/* How many frames a coroutine has. */
int ab_report_depth(lua_State *of);

/* Pushes a traceback of `of` without asyncbox's own frames, from level. */
void ab_report_traceback(lua_State *L, lua_State *of, int level);

/* Says that memory ran out, and which limit, without Lua: for when there is
 * none left to make a message. */
void ab_report_no_memory(ab_box *box);

/* Reports the error of the failed task at idx: message, traceback, name and
 * where it was spawned.  Protected: never raises, calls no code of scripts. */
void ab_report_failure(lua_State *L, int idx);

/* Reports every waiting task of a box that nothing can wake any more. */
void ab_report_deadlock(ab_box *box);

/* Pushes the name of the task at idx: "Task-2", or the one it was given by
 * ab_report_set_name, which takes it from the top of the stack. */
void ab_report_name(lua_State *L, int idx);
void ab_report_set_name(lua_State *L, int idx);

/* Pushes "task 'Task-2', spawned at file.lua:3", of the task at idx. */
void ab_report_who(lua_State *L, int idx);

/* Pushes the name under which package.loaded knows the function at idx
 * ("table.sort") and gives 1; 0 and nothing when it has none. */
int ab_report_function_name(lua_State *L, int idx);

/* Can the C function at idx be suspended in the middle of a call back? */
int ab_report_yieldable(lua_State *L, int idx);

/* Pushes "file.lua:12", a place as ab_task_place gives it, or "". */
void ab_report_place(lua_State *L, uint16_t source, int32_t line);

/* Pushes "file.lua:12: ", the innermost place in the script's own code, however
 * many of asyncbox's own Lua parts lie between, or "". */
void ab_report_where(lua_State *L);

/* Is this a frame of asyncbox's own Lua parts, by its source? */
int ab_report_internal(const char *source);

#endif

/* meter: run a command, print what it cost.
 *
 *   meter [-t SECONDS] [-o FILE] [-g SECONDS] [-w MB] [-s PID] -- CMD ARGS...
 *
 * Writes one line "wall user sys rss_kb status foreign delay" to FILE (default
 * stderr).  foreign: CPU seconds that the machine spent meanwhile on anything
 * but CMD (and but PID, a server given with -s).  delay: seconds that CMD's
 * first thread was ready to run but waited for a CPU (-1: unknown).  As root it
 * raises CMD's priority, so that other work disturbs it less.  -g: first wait,
 * that long at most, for 0.2 s in which the machine is nearly idle.  -w: then
 * touch that much memory and give it back, so that a virtual machine whose host
 * takes free memory away has it again (a first touch costs 10 us a page else,
 * and it would hit one peer and not the next).
 * The child gets its own process group; on timeout that group is killed and
 * the status is 124.  On SIGTERM/SIGINT meter passes SIGTERM to the child,
 * waits for it and still writes its line (used to meter servers); a child
 * that ignores SIGTERM for 5 s is killed.
 *
 * A small C program on purpose: ru_maxrss survives exec, so a child started
 * by a big runner would report the runner's size as its own. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

/* CPU seconds the whole machine has been busy */
static double busy(void) {
  unsigned long long v[10] = {0};
  FILE *f = fopen("/proc/stat", "r");
  if (!f) return 0;
  if (fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", v, v + 1, v + 2, v + 3, v + 4, v + 5,
             v + 6, v + 7) != 8) v[0] = 0;
  fclose(f);
  return (double)(v[0] + v[1] + v[2] + v[5] + v[6] + v[7]) / (double)sysconf(_SC_CLK_TCK);
}
/* seconds that PID's first thread was runnable but waited for a CPU */
static double delayed(pid_t pid) {
  char path[64];
  unsigned long long ns;
  snprintf(path, sizeof path, "/proc/%d/schedstat", (int)pid);
  FILE *f = fopen(path, "r");
  if (!f) return -1;
  int k = fscanf(f, "%*u %llu", &ns);
  fclose(f);
  return k == 1 ? (double)ns / 1e9 : -1;
}
static double cpu_of(pid_t pid) {
  char path[64], buf[1024];
  unsigned long long u = 0, s = 0;
  snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
  FILE *f = pid ? fopen(path, "r") : NULL;
  if (!f) return 0;
  size_t n = fread(buf, 1, sizeof buf - 1, f);
  fclose(f);
  buf[n] = 0;
  char *p = strrchr(buf, ')');
  if (!p || sscanf(p + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &u, &s) != 2) return 0;
  return (double)(u + s) / (double)sysconf(_SC_CLK_TCK);
}

/* in a process of its own, so that it leaves no trace in CMD's figures */
static void warm(size_t bytes) {
  pid_t pid = bytes ? fork() : -1;
  if (pid == 0) {
    char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (size_t i = 0; p != MAP_FAILED && i < bytes; i += 4096) p[i] = 1;
    _exit(0);
  }
  if (pid > 0) waitpid(pid, NULL, 0);
}

int main(int argc, char **argv) {
  size_t warm_bytes = 0;
  double limit = 60, gate = 0;
  pid_t server = 0;
  const char *out = NULL;
  int c;
  while ((c = getopt(argc, argv, "+t:o:g:w:s:")) != -1) {
    if (c == 't') limit = atof(optarg);
    else if (c == 'o') out = optarg;
    else if (c == 'g') gate = atof(optarg);
    else if (c == 'w') warm_bytes = (size_t)atol(optarg) << 20;
    else if (c == 's') server = atoi(optarg);
    else return 2;
  }
  if (optind >= argc) return 2;

  sigset_t set, old;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  sigprocmask(SIG_BLOCK, &set, &old);

  for (double end = now() + gate; now() < end;) {
    double b = busy();
    usleep(200000);
    if (busy() - b <= 0.03) break;
  }
  warm(warm_bytes);
  double b0 = busy() - cpu_of(server), delay, t0 = now();
  pid_t pid = fork();
  if (pid < 0) { perror("fork"); return 2; }
  if (pid == 0) {
    setpriority(PRIO_PROCESS, 0, -15);
    setpgid(0, 0);
    sigprocmask(SIG_SETMASK, &old, NULL);
    execvp(argv[optind], argv + optind);
    fprintf(stderr, "meter: %s: %s\n", argv[optind], strerror(errno));
    _exit(127);
  }
  setpgid(pid, pid);

  int status = 0, timed_out = 0;
  double deadline = t0 + limit;
  struct rusage ru;
  for (;;) {
    siginfo_t si = {0};
    if (waitid(P_PID, (id_t)pid, &si, WEXITED | WNOHANG | WNOWAIT) == 0 && si.si_pid == pid) break;
    double left = deadline - now();
    if (left <= 0) {
      timed_out = 1;
      kill(-pid, SIGKILL);
      siginfo_t killed;
      waitid(P_PID, (id_t)pid, &killed, WEXITED | WNOWAIT);
      break;
    }
    struct timespec ts = {(time_t)left, (long)((left - (time_t)left) * 1e9)};
    int sig = sigtimedwait(&set, NULL, &ts);
    if (sig == SIGTERM || sig == SIGINT) {
      kill(pid, SIGTERM);
      if (deadline > now() + 5) deadline = now() + 5;
    }
  }
  double wall = now() - t0;
  delay = delayed(pid);
  if (wait4(pid, &status, 0, &ru) < 0) { perror("wait4"); return 2; }
  double foreign = busy() - cpu_of(server) - b0;
  kill(-pid, SIGKILL); /* stragglers of the child's own group */
  int rc = timed_out ? 124 : WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  FILE *f = out ? fopen(out, "w") : stderr;
  if (!f) { perror(out); return 2; }
  double user = (double)ru.ru_utime.tv_sec + (double)ru.ru_utime.tv_usec / 1e6;
  double sys = (double)ru.ru_stime.tv_sec + (double)ru.ru_stime.tv_usec / 1e6;
  fprintf(f, "%.6f %.6f %.6f %ld %d %.2f %.4f\n", wall, user, sys, ru.ru_maxrss, rc,
          foreign - user - sys, delay);
  return rc;
}

/* race_spec.c - boxes on several threads at once that share libuv's thread
 * pool, its signal pipe, libcares and the process's descriptors.  Means most
 * under TSan
 * (./dev race); elsewhere it shows crashes and leaks.
 *
 * Each thread makes its own boxes: some run to their end, some are closed while
 * calls are pending, some are interrupted from another thread. */
#include "check.h"
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#ifdef __SANITIZE_THREAD__
#include <dlfcn.h>
#include <stdarg.h>
#include <sys/syscall.h>
/* libuv closes by syscall(2), which TSan doesn't hear of: it would take each
 * number that is used again for a race.  The program's own symbol comes before
 * the C library's. */
__attribute__((visibility("default"))) long syscall(long number, ...)
{
    long a[6];
    va_list args;
    va_start(args, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(args, long);
    va_end(args);
    if (number == SYS_close)
        return close((int)a[0]);
    long (*next)(long, ...);
    *(void **)&next = dlsym(RTLD_NEXT, "syscall");
    return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
#endif

enum { THREADS = 4, ROUNDS = 3 };

static char top[64];

static void quiet(void *arg, const char *text, size_t bytes)
{
    (void)arg;
    if (getenv("RACE_SPEC_LOUD"))
        fwrite(text, 1, bytes, stderr);
}

static const char files[] =
    "local async = require 'asyncbox'\n"
    "local fs, spawn = async.fs, async.spawn\n"
    "local dir, number = ...\n"
    "local path = dir .. '/f' .. number\n"
    "local tasks = {}\n"
    "for i = 1, 20 do\n"
    "  tasks[#tasks + 1] = spawn(function()\n"
    "    local text = ('x'):rep(i * 1000)\n"
    "    local mine = path .. '-' .. i\n"
    "    fs.write(mine, text, {atomic = i % 5 == 0})\n"
    "    assert(fs.read(mine) == text)\n"
    "    local file <close> = fs.open(mine, 'r+')\n"
    "    assert(#file:read(500) == 500)\n"
    "    file:seek('end')\n"
    "    file:write(text):flush()\n"
    "    file:close()\n"
    "    assert(#fs.read(mine) == 2 * #text)\n"
    "    os.remove(mine)\n"
    "  end)\n"
    "  local gone = spawn(fs.read, '/proc/self/status')\n"
    "  if i % 2 == 0 then async.sleep(0) end\n"
    "  gone:cancel()\n"
    "  pcall(gone.await, gone)\n"
    "end\n"
    "async.gather(tasks)\n"
    "local many = {}\n" /* more than have their turn: buffers go round */
    "fs.write(path, ('y'):rep(70000))\n"
    "for i = 1, 60 do many[i] = spawn(fs.read, path) end\n"
    "async.sleep(0)\n"
    "for i = 1, 60, 4 do many[i]:cancel() end\n"
    "for i, task in ipairs(many) do\n"
    "  local ok, text = pcall(task.await, task)\n"
    "  assert(ok and #text == 70000 or i % 4 == 1)\n"
    "end\n"
    "tasks = {}\n"
    "local top = dir .. '/w' .. number\n"
    "fs.mkdir(top .. '/a', {parents = true})\n"
    "for i = 1, 8 do\n"
    "  tasks[i] = spawn(function()\n"
    "    local watch <close> = fs.watch(top, {recursive = i % 2 == 0})\n"
    "    local inner <close> = fs.watch(top .. '/a', {recursive = true})\n"
    "    local name = top .. '/a/new' .. i\n"
    "    fs.mkdir(name)\n"
    "    repeat until inner().path == name\n"
    "    fs.rename(name, top .. '/moved' .. i)\n"
    "    repeat until watch().path == top .. '/moved' .. i\n"
    "    fs.remove(top .. '/moved' .. i)\n"
    "  end)\n"
    "end\n"
    "async.gather(tasks)\n"
    "local found = spawn(fs.glob, '/etc/**/*.conf')\n"
    "local walks = {}\n"
    "for i = 1, 3 do\n"
    "  walks[i] = spawn(function()\n"
    "    for _ in fs.walk('/etc') do end\n"
    "  end)\n"
    "end\n"
    "async.sleep(0.001)\n"
    "walks[3]:cancel()\n"
    "pcall(walks[3].await, walks[3])\n"
    "async.gather(walks[1], walks[2], found)\n"
    "assert(fs.write(dir .. '/shared', 'text', {atomic = true}))\n"
    "assert(fs.read(dir .. '/shared') == 'text')\n";

static const char programs[] =
    "local async = require 'asyncbox'\n"
    "local run = async.process.run\n"
    "local tasks = {}\n"
    "for i = 1, 4 do\n"
    "  tasks[i] = async.spawn(function()\n"
    "    assert(run('cat', {input = ('y'):rep(100000)}).stdout ==\n"
    "           ('y'):rep(100000))\n"
    "    assert(run('sh', '-c', 'exit ' .. i).status == i)\n"
    "  end)\n"
    "end\n"
    "async.gather(tasks)\n";

static const char pages[] =
    "local async = require 'asyncbox'\n"
    "local html = async.html\n"
    "local tasks = {}\n"
    "for i = 1, 6 do\n"
    "  tasks[i] = async.spawn(function()\n"
    "    local page = html.parse(('<p class=a>x<b>y</b>'):rep(100 * i))\n"
    "    assert(#page:select 'p > b' == 100 * i)\n"
    "  end)\n"
    "  local gone = async.spawn(html.parse, ('<div>'):rep(20000))\n"
    "  if i % 2 == 0 then async.sleep(0.001) end\n"
    "  gone:cancel()\n"
    "  pcall(gone.await, gone)\n"
    "end\n"
    "async.gather(tasks)\n";

/* Never ends by itself. */
static const char busy[] =
    "local async = require 'asyncbox'\n"
    "local fs, spawn = async.fs, async.spawn\n"
    "local dir, number = ...\n"
    "for i = 1, 8 do\n"
    "  spawn(function()\n"
    "    local path = dir .. '/b' .. number .. '-' .. i\n"
    "    while true do\n"
    "      fs.write(path, ('z'):rep(50000))\n"
    "      local file <close> = fs.open(path)\n"
    "      for piece in file:lines(1000) do if #piece == 7 then break end end\n"
    "    end\n"
    "  end)\n"
    "end\n"
    "spawn(async.html.parse, ('<div>'):rep(50000))\n"
    "spawn(async.process.run, 'sleep', '100')\n"
    "async.sleep(1000)\n";

/* The name server is a socket that answers nothing, then there is none. */
static const char packets[] =
    "local async = require 'asyncbox'\n"
    "local net, dns = async.net, async.dns\n"
    "local a <close> = net.udp{host = '127.0.0.1', port = 0}\n"
    "local b <close> = net.udp()\n"
    "for i = 1, 100 do\n"
    "  b:send('x', a:address())\n"
    "  assert(a:recv() == 'x')\n"
    "end\n"
    "local at = {tostring(a:address())}\n"
    "dns.servers(at, {timeout = 0.01, tries = 1})\n"
    "local gone = async.spawn(dns.resolve, 'a.test.')\n"
    "local function fails(code)\n"
    "  local ok, err = pcall(dns.resolve, 'a.test.')\n"
    "  assert(not ok and err.code == code, tostring(err))\n"
    "end\n"
    "async.gather(async.spawn(fails, 'EAI_AGAIN'),\n"
    "             async.spawn(fails, 'EAI_AGAIN'))\n"
    "gone:cancel()\n"
    "pcall(gone.await, gone)\n"
    "dns.servers {'127.0.0.1:1'}\n"
    "fails 'ECONNREFUSED'\n"
    "assert(dns.reverse('127.0.0.1')[1])\n";

static asyncbox *make_box(const char *code, int number)
{
    asyncbox *box = NULL;
    asyncbox_config config;
    char text[16];
    snprintf(text, sizeof text, "%d", number);
    const char *argv[] = {"race", top, text};
    asyncbox_config_init(&config);
    config.sandbox = 0;
    config.report = quiet;
    if (!CHECK(asyncbox_new(&config, &box) == 0))
        return NULL;
    CHECK(asyncbox_spawn_string(box, code, strlen(code), "=race", 3, argv) ==
          0);
    return box;
}

static void *interrupt_soon(void *box)
{
    nanosleep(&(struct timespec){0, 3000000}, NULL);
    asyncbox_interrupt(box);
    return NULL;
}

static void run_whole(const char *code, int number)
{
    asyncbox *box = make_box(code, number);
    if (!box)
        return;
    CHECK_EQUAL(asyncbox_run(box), 0);
    CHECK_EQUAL(asyncbox_free(box), 0);
}

static void run_interrupted(int number)
{
    pthread_t thread;
    asyncbox *box = make_box(busy, number);
    if (!box)
        return;
    if (CHECK(pthread_create(&thread, NULL, interrupt_soon, box) == 0)) {
        asyncbox_run(box);
        pthread_join(thread, NULL);
    }
    CHECK_EQUAL(asyncbox_free(box), 0);
}

static void close_early(int number)
{
    asyncbox *box = make_box(busy, number);
    if (!box)
        return;
    for (int i = 0; i < 5 * (number % 4); i++)
        asyncbox_step(box, 0);
    CHECK_EQUAL(asyncbox_free(box), 0);
}

static void *life(void *arg)
{
    int thread = *(int *)arg;
    for (int round = 0; round < ROUNDS; round++) {
        int number = thread * 100 + round;
        run_whole(files, number);
        run_whole(programs, number);
        run_whole(pages, number);
        run_whole(packets, number);
        close_early(number);
        run_interrupted(number);
    }
    return NULL;
}

int main(void)
{
    pthread_t threads[THREADS];
    int numbers[THREADS];
    char command[96];
    strcpy(top, "/tmp/race_spec.XXXXXX");
    if (!mkdtemp(top))
        return EXIT_FAILURE;
    for (int i = 0; i < THREADS; i++) {
        numbers[i] = i;
        CHECK(pthread_create(&threads[i], NULL, life, &numbers[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    snprintf(command, sizeof command, "rm -rf %s", top);
    CHECK(system(command) == 0);
    return check_done("race_spec");
}

/* html_spec.c - what scripts cannot show of asyncbox.html: a box closed while
 * pages are parsed, at every moment of it, and memory that runs out. */
#include "check_life.h"

/* Long parses that only cancelling ends in time, short ones, and documents
 * that are held. */
static const char everything[] =
    "local async = require 'asyncbox'\n"
    "local html, spawn = require 'asyncbox.html', async.spawn\n"
    "local held = {}\n"
    "for i = 1, 3 do spawn(html.parse, ('<div>'):rep(60000)) end\n"
    "for i = 1, 4 do\n"
    "  spawn(function()\n"
    "    while true do\n"
    "      held[i] = html.parse(('<p class=a>x<b>y</b>'):rep(200 * i))\n"
    "      assert(#held[i]:select 'p > b' == 200 * i)\n"
    "    end\n"
    "  end)\n"
    "end\n"
    "async.sleep(60)\n";

static void closed_at_every_moment(void)
{
    for (long us = 0; us <= 40000; us = us * 2 + 500) {
        counter c = {0};
        check_in("closed after %ld us", us);
        asyncbox *box = check_box(&c, everything, us % 1000 == 0);
        if (!CHECK(box != NULL))
            continue;
        struct timespec begin, now;
        clock_gettime(CLOCK_MONOTONIC, &begin);
        do {
            CHECK(asyncbox_step(box, 1000000) >= 0);
            check_pause_us(100);
            clock_gettime(CLOCK_MONOTONIC, &now);
        } while ((now.tv_sec - begin.tv_sec) * 1000000 +
                     (now.tv_nsec - begin.tv_nsec) / 1000 <
                 us);
        asyncbox_free(box);
        counter_check(&c);
    }
}

static const char small[] =
    "local html = require 'asyncbox.html'\n"
    "local page = html.parse('<title>t</title><a href=x class=\"a b\">y<br>',\n"
    "  {max_nodes = 100})\n"
    "assert(page.title == 't' and page:find('a'):text() == 'y')\n"
    "assert(#page:select('a.b[href]:not(p), br') == 2)\n"
    "assert(page:links('http://h/')[1] == 'http://h/x')\n"
    "assert(#page:html() > 20 and page:find('a'):attrs().href == 'x')\n"
    "local deep = html.parse(('<b>'):rep(60))\n"
    "assert(#deep:select('b b') == 59)\n";

/* An error in the script, and no leak. */
static void run_small(counter *c, const void *arg)
{
    (void)arg;
    check_run(check_box(c, small, 0));
}

static void runs_with_memory(void)
{
    asyncbox *box = check_box(NULL, small, 0);
    CHECK(box && asyncbox_run(box) == 0);
    asyncbox_free(box);
}

int main(void)
{
    closed_at_every_moment();
    runs_with_memory();
    check_refused("pages", run_small, NULL, 1);
    return check_done("html_spec");
}

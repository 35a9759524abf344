/* SPDX-License-Identifier: Apache-2.0 */
/* coffer serve: cofferd, in the foreground or behind.
 *
 * In the background the parent waits until the child serves, or says why it does not, by one line of JSON through a pipe.
 */
#include "base/mem.h"
#include "cli/api_client.h"
#include "cli/commands.h"
#include "daemon/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

static struct daemon *serving; /* for the signal handler */

struct serve_log {
    pthread_mutex_t mutex;
    char path[1100];
    bool foreground;
};

static void
write_log(void *arg, const char *line)
{
    struct serve_log *log = arg;
    time_t now = time(NULL);
    char when[32] = "";
    struct tm tm;
    int fd;

    if (gmtime_r(&now, &tm) != NULL)
        (void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
    (void)pthread_mutex_lock(&log->mutex);
    fd = open(log->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0) {
        (void)dprintf(fd, "%s %s\n", when, line);
        (void)close(fd);
    }
    if (log->foreground)
        (void)fprintf(stderr, "%s %s\n", when, line);
    else
        syslog(LOG_INFO, "%s", line);
    (void)pthread_mutex_unlock(&log->mutex);
}

/* systemd's protocol: a datagram to the socket that NOTIFY_SOCKET names ('@': an abstract one). */
static void
notify(const char *text)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = path == NULL ? 0 : strlen(path);
    int fd;

    if (len < 2 || len >= sizeof address.sun_path || (path[0] != '/' && path[0] != '@'))
        return;
    memcpy(address.sun_path, path, len);
    if (path[0] == '@')
        address.sun_path[0] = '\0';
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    (void)sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&address,
                 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
    (void)close(fd);
}

static void
on_stop(int number)
{
    (void)number;
    if (serving != NULL)
        daemon_ask_stop(serving, true);
}

static void
prepare_process(void)
{
    struct sigaction stop = {.sa_handler = on_stop}, ignore = {.sa_handler = SIG_IGN};
    struct rlimit files;

    (void)sigemptyset(&stop.sa_mask);
    (void)sigemptyset(&ignore.sa_mask);
    (void)sigaction(SIGTERM, &stop, NULL);
    (void)sigaction(SIGINT, &stop, NULL);
    (void)sigaction(SIGPIPE, &ignore, NULL);
    (void)sigaction(SIGHUP, &ignore, NULL);
    (void)mallopt(M_ARENA_MAX, 2); /* a score of threads, each of which needs little */
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max < 65536 ? files.rlim_max : 65536;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
}

static json_t *
report(const char *dir, const struct daemon *daemon, const char *link)
{
    return json_pack("{s:s,s:s,s:o,s:i}", "state", dir, "url", daemon_url(daemon), "link",
                     link[0] != '\0' ? json_string(link) : json_null(), "pid", (int)getpid());
}

static void
print_report(struct cli *cli, json_t *it)
{
    if (cli->json) {
        out_json(it);
        return;
    }
    (void)printf("cofferd serves %s (process %lld)%s%s\n", api_text(it, "state"),
                 (long long)json_integer_value(json_object_get(it, "pid")), api_text(it, "url")[0] == 'h' ? " at " : "",
                 api_text(it, "url")[0] == 'h' ? api_text(it, "url") : "");
    if (json_is_string(json_object_get(it, "link")))
        (void)printf("Sign in, once, within ten minutes:\n  %s\n", api_text(it, "link"));
    (void)fflush(stdout);
    json_decref(it);
}

/* Serve until asked to stop.  `ready` >= 0: where the report goes, as one line; it is closed. */
static int
serve_here(struct cli *cli, const char *dir, struct serve_log *log, int ready, struct coffer_error *err)
{
    const char *http = args_text(cli->args, "http");
    struct deploy_options options = {.kek = args_text(cli->args, "kek"), .who = cli->who, .serve = true, .log = write_log,
                                     .arg = log};
    struct daemon_options http_options = {.http = http == NULL            ? "127.0.0.1:0"
                                                  : strcmp(http, "none") == 0 ? NULL
                                                                              : http,
                                          .tls_cert = args_text(cli->args, "tls-cert"),
                                          .tls_key = args_text(cli->args, "tls-key"),
                                          .log = write_log,
                                          .arg = log};
    struct daemon *daemon = NULL;
    struct deploy *deploy = NULL;
    char link[400] = "", who[KEYRING_NAME_MAX];
    bool databases = false;
    int rc = deploy_open(dir, cli->os, &options, &deploy, err);

    if (rc != COFFER_OK)
        return rc;
    rc = daemon_start(deploy, &http_options, &daemon, err);
    (void)snprintf(who, sizeof who, "%.*s", (int)strcspn(cli->who, "@"), cli->who);
    if (rc == COFFER_OK && http_options.http != NULL)
        rc = daemon_signin_link(daemon, who, ROLE_CUSTODIAN, link, sizeof link, err);
    if (rc == COFFER_OK) {
        json_t *it = report(dir, daemon, link);
        char *text = it == NULL ? NULL : json_dumps(it, JSON_COMPACT);
        char line[1400];

        serving = daemon;
        (void)snprintf(line, sizeof line, "serving %s %s", dir, daemon_url(daemon));
        write_log(log, line);
        if (ready < 0) {
            print_report(cli, it);
        } else {
            if (text != NULL)
                (void)dprintf(ready, "%s\n", text);
            (void)close(ready);
            json_decref(it);
        }
        free(text);
        wipe(link, sizeof link);
        notify("READY=1\nSTATUS=serving");
        databases = daemon_wait(daemon);
        notify("STOPPING=1");
        write_log(log, databases ? "stopping, with the databases" : "stopping; the databases run on");
    }
    serving = NULL;
    daemon_stop(daemon);
    deploy_close(deploy, databases);
    return rc;
}

static _Noreturn void
child(struct cli *cli, const char *dir, struct serve_log *log, int ready)
{
    struct coffer_error err = {0};
    int null = open("/dev/null", O_RDWR | O_CLOEXEC), rc;

    (void)setsid();
    for (int fd = 0; fd <= 2 && null >= 0; fd++)
        (void)dup2(null, fd);
    openlog("cofferd", LOG_PID, LOG_DAEMON);
    rc = serve_here(cli, dir, log, ready, &err);
    if (rc != COFFER_OK) {
        json_t *it = json_pack("{s:i,s:s}", "status", rc, "message", err.message);
        char *text = it == NULL ? NULL : json_dumps(it, JSON_COMPACT);

        if (text != NULL)
            (void)dprintf(ready, "%s\n", text); /* closed already if it was serving: nobody waits then */
        write_log(log, err.message);
        free(text);
        json_decref(it);
    }
    exit(rc == COFFER_OK ? 0 : 1);
}

static int
serve_behind(struct cli *cli, const char *dir, struct serve_log *log, struct coffer_error *err)
{
    char line[4096];
    json_t *it;
    FILE *from;
    int ends[2];
    pid_t pid;

    (void)fflush(NULL);
    if (pipe2(ends, O_CLOEXEC) != 0)
        return error_set(err, COFFER_E_IO, "pipe: %s", strerror(errno));
    pid = fork();
    if (pid == 0) {
        (void)close(ends[0]);
        child(cli, dir, log, ends[1]);
    }
    (void)close(ends[1]);
    from = fdopen(ends[0], "r");
    if (pid < 0 || from == NULL)
        return error_set(err, COFFER_E_IO, "cofferd was not started: %s", strerror(errno));
    if (fgets(line, sizeof line, from) == NULL)
        line[0] = '\0';
    (void)fclose(from);
    it = json_loads(line, 0, NULL);
    if (it == NULL)
        return error_set(err, COFFER_E_LOST, "cofferd ended before it served; %s says more", log->path);
    if (json_object_get(it, "message") != NULL) {
        int rc = error_set(err, (int)json_integer_value(json_object_get(it, "status")), "%s", api_text(it, "message"));

        json_decref(it);
        (void)waitpid(pid, NULL, 0);
        return rc;
    }
    print_report(cli, it);
    return COFFER_OK;
}

static int
run_serve(struct cli *cli, struct coffer_error *err)
{
    static struct serve_log log = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    char dir[1024];
    int rc = cli_state(cli, dir, err);

    if (rc != COFFER_OK)
        return rc;
    (void)snprintf(log.path, sizeof log.path, "%s/log", dir);
    if (dir[0] != '/') { /* whoever follows us has another working folder */
        char *here = getcwd(NULL, 0);

        if (here == NULL || (size_t)snprintf(log.path, sizeof log.path, "%s/%s/log", here, dir) >= sizeof log.path)
            rc = error_set(err, COFFER_E_LIMIT, "the path of the state folder is too long");
        free(here);
        if (rc != COFFER_OK)
            return rc;
    }
    log.foreground = args_flag(cli->args, "foreground");
    prepare_process();
    return log.foreground ? serve_here(cli, dir, &log, -1, err) : serve_behind(cli, dir, &log, err);
}

static const struct arg_option options_serve[] = {
    {"http", "ADDRESS:PORT", "where the dashboard is (127.0.0.1:0, a free port); none: the command's socket only"},
    {"foreground", NULL, "do not go to the background; the log goes to standard error, too"},
    {"tls-cert", "FILE", "certificate (PEM); needed beyond this machine"},
    {"tls-key", "FILE", "its key (PEM)"},
    {NULL, NULL, NULL}};
const struct command command_serve = {
    .name = "serve",
    .synopsis = "--state DIR [--http ADDRESS:PORT] [--foreground]",
    .summary = "run cofferd: databases, their backups, the dashboard",
    .details = "Serves the state folder DIR, which the first start makes, with a keyring and its key. Prints a link that "
               "signs in to the dashboard once, and returns when cofferd serves. Databases outlive cofferd: one that is killed stops none.\n"
               "SIGTERM stops the databases, then cofferd.\n\n"
               "  coffer serve --state /var/lib/coffer\n"
               "  coffer serve --state ./dbs --http 127.0.0.1:8440 --foreground\n",
    .options = options_serve,
    .run = run_serve,
};

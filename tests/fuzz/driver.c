/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a fuzzer without libFuzzer, so that gcc builds and ./check can: the whole corpus, then
 * mutations of it for some seconds.
 *
 *   fuzz_NAME [-seconds N] [-seed N] FILE|FOLDER ...
 *
 * Deterministic for a seed, but for where the time ends.  The input under way is printed as hex
 * when the program dies. */
#include <dirent.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define INPUT_MAX 65536
#define CORPUS_MAX 1024

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct input {
    uint8_t *data;
    size_t len;
};

static struct input corpus[CORPUS_MAX];
static size_t corpus_count;
static uint64_t random_state = 0x9e3779b97f4a7c15;
static uint8_t current[INPUT_MAX];
static size_t current_len;

/* xorshift64*: quality does not matter here, repeatability does. */
static uint64_t
next_random(uint64_t below)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return below == 0 ? 0 : (random_state * 0x2545f4914f6cdd1d >> 16) % below;
}

static void
print_current(int signal_number)
{
    static const char digits[] = "0123456789abcdef";
    char pair[2];
    ssize_t n = write(2, "input: ", 7);

    for (size_t i = 0; i < current_len && n > 0; i++) {
        pair[0] = digits[current[i] >> 4];
        pair[1] = digits[current[i] & 15];
        n = write(2, pair, 2);
    }
    n = write(2, "\n", 1);
    (void)n;
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static void
run(void)
{
    uint8_t *exact =
        malloc(current_len > 0 ? current_len : 1); /* so that one byte too far is seen */

    if (exact == NULL)
        abort();
    memcpy(exact, current, current_len);
    LLVMFuzzerTestOneInput(exact, current_len);
    free(exact);
}

static bool
add_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    struct input input;

    if (f == NULL) {
        perror(path);
        return false;
    }
    input.data = malloc(INPUT_MAX);
    if (input.data == NULL)
        abort();
    input.len = fread(input.data, 1, INPUT_MAX, f);
    fclose(f);
    if (corpus_count < CORPUS_MAX)
        corpus[corpus_count++] = input;
    else
        free(input.data);
    return true;
}

static bool
add(const char *path)
{
    struct dirent **names;
    struct stat st;
    bool ok = true;
    int count;

    if (stat(path, &st) != 0) {
        perror(path);
        return false;
    }
    if (!S_ISDIR(st.st_mode))
        return add_file(path);
    count = scandir(path, &names, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        char file[4096];

        snprintf(file, sizeof file, "%s/%s", path, names[i]->d_name);
        if (names[i]->d_name[0] != '.')
            ok &= add_file(file);
        free(names[i]);
    }
    if (count >= 0)
        free(names);
    return ok && count >= 0;
}

static void
take(const struct input *input)
{
    memcpy(current, input->data, input->len);
    current_len = input->len;
}

/* One small change: what parsers trip over. */
static void
mutate(void)
{
    static const uint8_t edges[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
    size_t at = next_random(current_len), n;
    const struct input *other;

    switch (next_random(7)) {
    case 0:
        if (current_len > 0)
            current[at] ^= (uint8_t)(1 << next_random(8));
        break;
    case 1:
        if (current_len > 0)
            current[at] = edges[next_random(sizeof edges)];
        break;
    case 2:
        if (current_len > 0)
            current[at] = (uint8_t)next_random(256);
        break;
    case 3: /* cut */
        current_len = next_random(current_len + 1);
        break;
    case 4: /* remove some in the middle */
        n = next_random((current_len - at < 32 ? current_len - at : 32) + 1);
        memmove(current + at, current + at + n, current_len - at - n);
        current_len -= n;
        break;
    case 5: /* insert some */
        n = next_random(INPUT_MAX - current_len < 32 ? INPUT_MAX - current_len : 32);
        memmove(current + at + n, current + at, current_len - at);
        memset(current + at, edges[next_random(sizeof edges)], n);
        current_len += n;
        break;
    default: /* the tail of another input */
        other = &corpus[next_random(corpus_count)];
        if (at < other->len) {
            memcpy(current + at, other->data + at, other->len - at);
            current_len = other->len;
        }
    }
}

static double
seconds_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int
main(int argc, char **argv)
{
    double seconds = 0, end;
    unsigned long runs = 0;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-seconds") == 0 && i + 1 < argc)
            seconds = atof(argv[++i]);
        else if (strcmp(argv[i], "-seed") == 0 && i + 1 < argc)
            random_state ^= strtoull(argv[++i], NULL, 0);
        else if (!add(argv[i]))
            return 2;
    }
    if (corpus_count == 0) {
        fprintf(stderr, "no corpus: give files or folders\n");
        return 2;
    }
    signal(SIGABRT, print_current);
    signal(SIGSEGV, print_current);
    signal(SIGBUS, print_current);
    signal(SIGFPE, print_current);

    for (size_t i = 0; i < corpus_count; i++, runs++) {
        take(&corpus[i]);
        run();
    }
    for (end = seconds_now() + seconds; seconds_now() < end; runs++) {
        take(&corpus[next_random(corpus_count)]);
        for (uint64_t changes = 1 + next_random(4); changes > 0; changes--)
            mutate();
        run();
    }
    printf("%lu runs over %zu inputs\n", runs, corpus_count);
    for (size_t i = 0; i < corpus_count; i++)
        free(corpus[i].data);
    return 0;
}

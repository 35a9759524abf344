/* SPDX-License-Identifier: Apache-2.0 */
/* Aligned columns for people. */
#include "base/mem.h"
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#define TABLE_COLUMNS_MAX 16

struct table {
    const char *headings[TABLE_COLUMNS_MAX];
    bool right[TABLE_COLUMNS_MAX];
    size_t width[TABLE_COLUMNS_MAX];
    size_t columns, rows, size;
    char **cells;
};

static size_t
code_point(const unsigned char *p, wchar_t *out)
{
    size_t len = p[0] < 0x80 ? 1 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    uint32_t c = len == 1 ? p[0] : p[0] & (0x7fu >> len);

    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            *out = L'?';
            return 1;
        }
        c = c << 6 | (p[i] & 0x3f);
    }
    *out = (wchar_t)c;
    return len;
}

size_t
text_width(const char *text)
{
    size_t width = 0;

    for (const unsigned char *p = (const unsigned char *)text; *p != '\0';) {
        wchar_t c;
        int w;

        p += code_point(p, &c);
        w = wcwidth(c);
        width += w < 0 ? 1 : (size_t)w;
    }
    return width;
}

struct table *
table_new(const char *const *headings, size_t columns)
{
    struct table *t = mem_alloc(sizeof *t);

    if (t == NULL)
        return NULL;
    t->columns = columns < TABLE_COLUMNS_MAX ? columns : TABLE_COLUMNS_MAX;
    for (size_t i = 0; i < t->columns; i++) {
        t->right[i] = headings[i][0] == '>';
        t->headings[i] = headings[i] + t->right[i];
        t->width[i] = text_width(t->headings[i]);
    }
    return t;
}

void
table_row(struct table *t, const char *const *cells)
{
    if (t == NULL)
        return;
    if (t->rows == t->size) {
        size_t size = t->size == 0 ? 16 : t->size * 2;
        char **grown = mem_grow(t->cells, size * t->columns * sizeof *grown);

        if (grown == NULL)
            return;
        t->cells = grown;
        t->size = size;
    }
    for (size_t i = 0; i < t->columns; i++) {
        size_t width = text_width(cells[i]);

        t->cells[t->rows * t->columns + i] = mem_strdup(cells[i]);
        if (width > t->width[i])
            t->width[i] = width;
    }
    t->rows++;
}

static void
print_line(const struct table *t, char *const *cells, FILE *to)
{
    for (size_t i = 0; i < t->columns; i++) {
        const char *cell = cells[i] == NULL ? "" : cells[i];
        int space = (int)(t->width[i] - text_width(cell));
        bool last = i + 1 == t->columns;

        if (t->right[i])
            (void)fprintf(to, "%*s%s", space, "", cell);
        else
            (void)fprintf(to, "%s%*s", cell, last ? 0 : space, "");
        (void)fputs(last ? "\n" : "  ", to);
    }
}

void
table_print(const struct table *t, FILE *to, bool colour)
{
    char *headings[TABLE_COLUMNS_MAX] = {0};

    if (t == NULL)
        return;
    for (size_t i = 0; i < t->columns; i++)
        headings[i] = mem_strdup(t->headings[i]);
    if (colour)
        (void)fputs("\033[1m", to);
    print_line(t, headings, to);
    if (colour)
        (void)fputs("\033[0m", to);
    for (size_t r = 0; r < t->rows; r++)
        print_line(t, t->cells + r * t->columns, to);
    for (size_t i = 0; i < t->columns; i++)
        mem_free(headings[i]);
}

void
table_free(struct table *t)
{
    if (t == NULL)
        return;
    for (size_t i = 0; i < t->rows * t->columns; i++)
        mem_free(t->cells[i]);
    mem_free(t->cells);
    mem_free(t);
}

void
print_wrapped(FILE *to, const char *text, size_t indent, size_t width)
{
    size_t at = indent;
    bool first = true;

    while (*text != '\0') {
        size_t len = strcspn(text, " \n");
        char word[640];
        size_t columns;

        (void)snprintf(word, sizeof word, "%.*s", (int)len, text);
        columns = text_width(word);
        if (!first && width > indent && at + 1 + columns > width) {
            (void)fprintf(to, "\n%*s", (int)indent, "");
            at = indent;
        } else if (!first) {
            (void)fputc(' ', to);
            at++;
        }
        (void)fwrite(text, 1, len, to);
        at += columns;
        text += len;
        first = *text == '\n';
        if (first) {
            (void)fprintf(to, "\n%*s", (int)indent, "");
            at = indent;
        }
        if (*text != '\0')
            text++;
    }
    (void)fputc('\n', to);
}

size_t
terminal_width(int fd)
{
    struct winsize size;

    if (!isatty(fd))
        return 0;
    return ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

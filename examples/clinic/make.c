/* SPDX-License-Identifier: Apache-2.0 */
/* The clinic's database from a seed: names of several scripts, skewed diagnoses, NULLs, empty
 * strings and long notes. */
#include "clinic.h"
#include "db.h"

#include <math.h>
#include <stdio.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* SplitMix64: small, and the same on every machine. */
static uint64_t
next(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);

    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static unsigned
below(uint64_t *state, unsigned n)
{
    return (unsigned)(next(state) % n);
}

/* The square of a uniform number leans to the front of a list, as names and diagnoses do. */
static const char *
skewed(uint64_t *state, const char *const *list, size_t n)
{
    double u = (double)(next(state) >> 11) / 9007199254740992.0;

    return list[(size_t)(u * u * (double)n)];
}

static const char *const FIRST[] = {"Maria",  "José",   "Anna",   "Peter", "Zoë",
                                    "Łukasz", "Sofía",  "Jürgen", "Aoife", "Noah",
                                    "Fatma",  "Øyvind", "Chloé",  "Ivan",  "Amélie",
                                    "Ngozi",  "王伟",   "さくら", "Ольга", "Δημήτρης"};
static const char *const LAST[] = {"García",  "Müller", "Smith",    "Nowak",   "Ångström",
                                   "O'Neill", "Dvořák", "Kowalski", "Jensen",  "Okafor",
                                   "Yılmaz",  "Rossi",  "Silva",    "Nguyễn",  "Иванова",
                                   "李",      "田中",   "Weiß",     "Lefèvre", "van Dijk"};
static const char *const ICD10[] = {"I10",   "E11.9", "Z00.0", "J06.9", "M54.5", "E78.5", "F41.1",
                                    "K21.9", "J45.9", "N39.0", "F32.9", "R51",   "I25.1", "G43.9",
                                    "C50.9", "B20",   "S52.5", "O80",   "L40.0", "Q21.0"};
static const char *const NOTES[] = {"Follow-up in three months.",
                                    "Blood pressure controlled; continue lisinopril.",
                                    "Patient reports improved sleep — no side effects.",
                                    "Überweisung an die Kardiologie 🫀.",
                                    "Allergic to penicillin!",
                                    "Lab results discussed; diet advice given.",
                                    "Vaccination up to date."};
static const char *const LABS[] = {"HbA1c", "LDL", "TSH", "CRP", "K", "Na", "Hb", "eGFR"};

static void
make_notes(uint64_t *state, char *out, size_t max)
{
    unsigned sentences = below(state, 100) == 0 ? 60 : 1 + below(state, 5);
    size_t len = 0;

    out[0] = '\0';
    while (sentences-- > 0 && len + 80 < max)
        len += (size_t)snprintf(out + len, max - len, "%s%s", len > 0 ? " " : "",
                                NOTES[below(state, COUNT(NOTES))]);
}

static int
add_patient(struct clinic_db *db, uint64_t *state, long id)
{
    char key[24], name[128], ssn[16], born[16], phone[24], email[64], notes[8192];
    unsigned dice;

    snprintf(key, sizeof key, "%ld", id);
    snprintf(name, sizeof name, "%s %s", skewed(state, FIRST, COUNT(FIRST)),
             skewed(state, LAST, COUNT(LAST)));
    snprintf(ssn, sizeof ssn, "%03u-%02u-%04u", 1 + below(state, 898), 1 + below(state, 98),
             1 + below(state, 9998));
    snprintf(born, sizeof born, "%04u-%02u-%02u", 1925 + below(state, 98), 1 + below(state, 12),
             1 + below(state, 28));
    snprintf(phone, sizeof phone, "+1-%03u-555-%04u", 201 + below(state, 700), below(state, 10000));
    snprintf(email, sizeof email, "patient%ld@example.org", id);
    make_notes(state, notes, sizeof notes);
    dice = below(state, 100);
    return clinic_db_add(db, CLINIC_PATIENTS,
                         (const char *const[]){key, name, dice < 3 ? NULL : ssn, born, phone,
                                               dice % 20 == 4   ? NULL
                                               : dice % 20 == 5 ? ""
                                                                : email,
                                               skewed(state, ICD10, COUNT(ICD10)),
                                               dice % 10 == 7 ? "" : notes});
}

static int
add_lab(struct clinic_db *db, uint64_t *state, long patient)
{
    char key[24], taken[32], value[32];
    const char *code;
    bool measured;

    snprintf(key, sizeof key, "%ld", patient);
    snprintf(taken, sizeof taken, "20%02u-%02u-%02u %02u:%02u:%02u", 15 + below(state, 11),
             1 + below(state, 12), 1 + below(state, 28), below(state, 24), below(state, 60),
             below(state, 60));
    code = LABS[below(state, COUNT(LABS))];
    measured = below(state, 50) != 0;
    if (measured)
        snprintf(value, sizeof value, "%.2f",
                 exp(1.5 + 0.8 * ((double)below(state, 4001) / 1000.0 - 2.0)));
    return clinic_db_add(db, CLINIC_LABS,
                         (const char *const[]){key, code, measured ? value : NULL, taken});
}

static int
add_invoice(struct clinic_db *db, uint64_t *state, long patient)
{
    char key[24], issued[16], amount[16];

    snprintf(key, sizeof key, "%ld", patient);
    snprintf(amount, sizeof amount, "%u.%02u",
             20 + below(state, below(state, 10) == 0 ? 9000 : 400), below(state, 100));
    snprintf(issued, sizeof issued, "20%02u-%02u-%02u", 15 + below(state, 11), 1 + below(state, 12),
             1 + below(state, 28));
    return clinic_db_add(db, CLINIC_INVOICES, (const char *const[]){key, amount, issued});
}

static int
fill(struct clinic_db *db, long rows, uint64_t seed)
{
    uint64_t state = seed;
    int rc = 0;
    long id;

    for (id = 1; rc == 0 && id <= rows; id++) {
        rc = add_patient(db, &state, id);
        if (rc == 0 && below(&state, 2) == 0)
            rc = add_lab(db, &state, id);
        if (rc == 0 && below(&state, 3) == 0)
            rc = add_invoice(db, &state, id);
    }
    return rc;
}

int
clinic_make(const char *url, long rows, uint64_t seed)
{
    struct clinic_db *db = clinic_db_open(url);
    int rc;

    if (db == NULL)
        return 1;
    rc = clinic_db_begin(db);
    if (rc == 0)
        rc = fill(db, rows, seed);
    if (rc == 0)
        rc = clinic_db_end(db);
    if (rc != 0)
        fprintf(stderr, "clinic: %s\n", db->error);
    clinic_db_close(db);
    return rc == 0 ? 0 : 1;
}

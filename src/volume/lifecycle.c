/* SPDX-License-Identifier: Apache-2.0 */
/* Changing a volume's key: the steps, each from wherever the last run ended.
 *
 *   keys of the line          record            what comes next
 *   ─────────────────────     ───────────────   ─────────────────────────────────────────────
 *   A active                  –                 life_stage()        a new key B, which the mount opens with
 *   A active, B staged        –                 life_record_open()  work, the form wanted, to_key = B
 *   A active, B staged        work, to B        life_activate()     B writes
 *   B active, A draining      work, to B        life_drain()        walks until one finds nothing
 *                                               life_fence()        A opens nothing
 *   B active, A fenced        work, to B        life_prove()        finds something: life_reopen(), and drain again
 *   B active, A proven        work, to B        life_escrow()
 *   B active, A escrowed      work, to B        life_record_close()
 *   B active                  –                 done
 *
 * An abort exchanges the forms in the record and names A as to_key; life_activate() and the rest then do the same with B.
 * Trusted: the keyring, and the record as far as its MAC and the keyring bear it out.
 */
#include "volume/lifecycle_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define ROUNDS_MAX 8 /* of drain, fence and a proof that finds something */

static const char *
work_name(unsigned work)
{
    return work == VOLUME_REENCRYPT ? "re-encryption (--reencrypt)" : "re-wrap (--rewrap)";
}

/* ---- what was asked for, against what is so ---- */

static int
check_open(const struct life *life, struct coffer_error *err)
{
    const struct volume_rotate_options *o = life->options;
    const struct volume_setup *setup = &life->setup;

    if (setup->rotation.reversed && !o->abort)
        life_say(life, "abort", "the rotation of %s is being aborted; going on with that",
                 setup->lower);
    if (o->abort)
        return COFFER_OK;
    if (o->work != 0 && o->work != setup->rotation.work)
        return error_set(err, COFFER_E_REFUSED,
                         "a %s of %s is open: end it with the same command, or --abort it",
                         work_name(setup->rotation.work), setup->lower);
    if (setup->rotation.reversed)
        return COFFER_OK;
    if (o->key_bits != 0 && o->key_bits != setup->options.key_bits)
        return error_set(
            err, COFFER_E_REFUSED,
            "the rotation of %s that is open goes to aes-%u: end it or --abort it first",
            setup->lower, setup->options.key_bits);
    if (o->encrypt_names >= 0 && (o->encrypt_names != 0) != setup->options.encrypt_names)
        return error_set(
            err, COFFER_E_REFUSED,
            "the rotation of %s that is open goes to %s names: end it or --abort it first",
            setup->lower, setup->options.encrypt_names ? "encrypted" : "plain");
    return COFFER_OK;
}

static int
check_new(const struct life *life, struct coffer_error *err)
{
    const struct volume_rotate_options *o = life->options;

    if (o->abort)
        return COFFER_OK; /* life_reverse() knows */
    if (o->work != VOLUME_REWRAP && o->work != VOLUME_REENCRYPT)
        return error_set(
            err, COFFER_E_MISUSE,
            "say which: --rewrap (new headers, minutes) or --reencrypt (all data anew)");
    if (o->key_bits != 0 && o->key_bits != 128 && o->key_bits != 192 && o->key_bits != 256)
        return error_set(err, COFFER_E_MISUSE, "a cipher is aes-256, aes-192 or aes-128");
    if (o->key_bits != 0 && o->key_bits != life->setup.options.key_bits &&
        o->work != VOLUME_REENCRYPT)
        return error_set(
            err, COFFER_E_MISUSE,
            "the files of %s are under aes-%u; another cipher means writing them anew: --reencrypt",
            life->setup.lower, life->setup.options.key_bits);
    return COFFER_OK;
}

/* ---- plan ---- */

static int
plan(struct life *life, struct coffer_error *err)
{
    const struct volume_setup *setup = &life->setup;
    const struct volume_rotate_options *o = life->options;
    unsigned work = setup->rotation.work != 0 ? setup->rotation.work : o->work;
    bool open = setup->rotation.work != 0;
    unsigned bits = !open && o->key_bits != 0 ? o->key_bits : setup->options.key_bits;
    bool names =
        !open && o->encrypt_names >= 0 ? o->encrypt_names != 0 : setup->options.encrypt_names;
    struct volume_progress totals = {0};
    struct volume_count count;
    struct life_find find;
    int rc = life_scan(life, NULL, &count, &find, err);

    if (rc != COFFER_OK)
        return rc;
    totals.files = count.files;
    totals.names = count.names + count.links;
    totals.bytes = work == VOLUME_REENCRYPT ? count.bytes : count.files * 512;
    totals.failed = life_unreadable(life, &count);
    if (life->env->progress != NULL)
        life->env->progress(life->env->arg, &totals);
    if (open)
        life_say(life, "plan", "a %s is open; the same command ends it",
                 work_name(setup->rotation.work));
    if (work == VOLUME_REENCRYPT)
        life_say(life, "plan",
                 "a new key, and every file written anew under it: %" PRIu64
                 " files, %.1f MB, to aes-%u",
                 count.files, (double)count.bytes / 1e6, bits);
    else
        life_say(life, "plan",
                 "a new key, and the headers of %" PRIu64
                 " files wrapped under it; their data stay",
                 count.files);
    if (names)
        life_say(life, "plan",
                 "names and link targets are written anew, encrypted: %" PRIu64 " names, %" PRIu64
                 " links",
                 count.names, count.links);
    else if (setup->options.encrypt_names)
        life_say(life, "plan",
                 "names and link targets become plain: %" PRIu64 " names, %" PRIu64 " links",
                 count.names, count.links);
    life_say(life, "plan",
             life->online
                 ? "the volume is mounted: the mount does it while it is used"
                 : "the volume is not mounted: it is done here, and nobody can mount it meanwhile");
    if (totals.failed > 0)
        return error_set(err, COFFER_E_REFUSED,
                         "%" PRIu64 " file%s cannot be read, %.200s%s%.100s: the former key could "
                         "not be proven gone.  Repair or "
                         "delete what coffer volume check names",
                         totals.failed, totals.failed == 1 ? "" : "s", find.path,
                         find.path[0] != '\0' ? ": " : "", find.what);
    life_say(life, "plan", "nothing was changed");
    return COFFER_OK;
}

/* ---- the steps ---- */

static int
begin(struct life *life, struct coffer_error *err)
{
    int rc;

    if (life->options->abort) {
        if (life->online)
            rc = life_call(life, "stop-walk", NULL, NULL, err);
        else
            rc = COFFER_OK;
        if (rc == COFFER_OK)
            rc = life_reverse(life, err);
        return rc == COFFER_OK && life->setup.rotation.work != 0 ? life_activate(life, err) : rc;
    }
    rc = COFFER_OK;
    if (life->setup.rotation.work == 0)
        rc = life_stage(life, err);
    if (rc == COFFER_OK)
        rc = life_record_open(life, err);
    return rc == COFFER_OK ? life_activate(life, err) : rc;
}

static int
stop_here(const struct life *life, struct coffer_error *err)
{
    return life_stopped(life)
               ? error_set(err, COFFER_E_CANCELLED, "stopped; the same command goes on from here")
               : COFFER_OK;
}

static bool
any_in(const struct life *life, enum key_state state)
{
    return life_key_in(life, state) != NULL;
}

static int
empty_out(struct life *life, struct coffer_error *err)
{
    unsigned round;
    int rc = COFFER_OK;

    for (round = 0; rc == COFFER_OK && round < ROUNDS_MAX; round++) {
        if (any_in(life, KEY_DRAINING)) {
            rc = life_drain(life, err);
            if (rc == COFFER_OK)
                rc = stop_here(life, err);
            if (rc == COFFER_OK)
                rc = life_fence(life, err);
        }
        if (rc == COFFER_OK)
            rc = stop_here(life, err);
        if (rc != COFFER_OK)
            return rc;
        rc = life_prove(life, err);
        if (rc != COFFER_E_REFUSED || !life->found)
            return rc;
        /* Put there from outside, or moved before the walk came: they must open again to be moved. */
        life_say(life, "prove", "%s", err->message);
        rc = life_reopen(life, err);
    }
    return rc == COFFER_OK ? life_prove(life, err) : rc;
}

static int
run(struct life *life, struct coffer_error *err)
{
    int rc = life->setup.rotation.work != 0 ? check_open(life, err) : check_new(life, err);

    if (rc == COFFER_OK && life->options->plan_only)
        return plan(life, err);
    if (rc == COFFER_OK)
        rc = begin(life, err);
    if (rc == COFFER_OK)
        rc = stop_here(life, err);
    if (rc == COFFER_OK)
        rc = life_retiring(life, err);
    if (rc == COFFER_OK)
        rc = empty_out(life, err);
    if (rc == COFFER_OK)
        rc = life_escrow(life, err);
    return rc == COFFER_OK ? life_record_close(life, err) : rc;
}

int
volume_rotate(const struct volume_env *env, const char *path,
              const struct volume_rotate_options *options, struct coffer_error *err)
{
    struct coffer_error own = {0};
    struct life life;
    bool taken_back;
    int rc;

    if (err == NULL) /* messages are passed on between steps */
        err = &own;
    rc = life_open(&life, env, options, path, err);
    if (rc != COFFER_OK)
        return rc;
    taken_back = life.setup.rotation.work != 0 && life.setup.rotation.reversed && !options->abort &&
                 !options->plan_only && options->work != 0;
    rc = run(&life, err);
    if (rc == COFFER_OK && taken_back) /* or a script would believe that the key is another */
        rc = error_set(err, COFFER_E_NOTYET, "the former rotation of %s is taken back now, and its key is what it was before; "
                       "give the same command again to change it", path);
    life_close(&life);
    return rc;
}

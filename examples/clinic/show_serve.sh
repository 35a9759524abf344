# SPDX-License-Identifier: Apache-2.0
# The last step of the show: cofferd with its dashboard, and a database on an encrypted volume; sourced by quickstart.

state=$data/state

serve_path_check() { # before the long part: the engine's socket and the mounts are below this folder
    local most=76
    [ "$(id -u)" -ne 0 ] || most=140
    [ "$(printf %s "$state" | wc -c)" -le $most ] ||
        fail "the path $state is too long for databases ($most bytes): clone Coffer to a shorter one, or give --no-serve"
}

# What an earlier run left serving.  Databases that somebody made there himself are not ours to remove.
serve_stop() {
    local others
    [ -f "$state/state.db" ] || return 0
    others=$(sqlite3 "file:$state/state.db?mode=ro" "SELECT group_concat(name, ', ') FROM databases WHERE name <> 'clinic'") ||
        fail "$state/state.db cannot be read: move quickstart-data away, or remove it"
    [ -z "$others" ] ||
        fail "quickstart-data/state has databases of yours ($others).  Destroy them, or keep them:
  build/coffer --state quickstart-data/state stop, and move quickstart-data away"
    # One that was killed left servers and mounts; its follower finds them.
    "$coffer" --state "$state" stop >/dev/null 2>&1 ||
        { "$coffer" serve --state "$state" --http none >/dev/null && "$coffer" --state "$state" stop >/dev/null; } ||
        fail "cofferd of the former run did not stop: see $state/log"
    ! grep -qF " $state/" /proc/mounts || fail "something is still mounted below $state: unmount it first"
}

# PostgreSQL runs as its own account when we are root: it has to pass every folder above.
serve_engine() {
    engine=sqlite title='SQLite, embedded'
    compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || return 0
    if [ "$(id -u)" -eq 0 ]; then
        id postgres >/dev/null 2>&1 || return 0
        chmod 711 "$data"
        if ! runuser -u postgres -- test -x "$data"; then
            note "the account postgres cannot pass ${root%/*} (chmod o+x), so this is SQLite"
            return 0
        fi
    fi
    engine=postgresql title=PostgreSQL
}

show_serve() {
    local engine title link lower
    serve_engine
    step "10  $title on an encrypted volume, and the dashboard"
    "$coffer" serve --state "$state" >serve.out || fail "cofferd did not start: see $state/log"
    note "build/coffer --state quickstart-data/state db create clinic --engine $engine"
    "$coffer" --state "$state" db create clinic --engine "$engine" >create.out 2>create.err ||
        { tail -5 create.err >&2; fail "the database was not made: see $state/log"; }
    note "build/coffer --state quickstart-data/state db list"
    "$coffer" --state "$state" db list | sed 's/^/   /'
    lower=$(sed -n 's/^ *lower *//p' create.out)
    fact "All of it, log and temporary files too, is written to ${lower#"$root/"} as ciphertext"
    link=$("$coffer" --state "$state" signin) || fail "no sign-in: see $state/log"
    plain "The dashboard, for one sign-in within ten minutes (another: build/coffer --state quickstart-data/state signin):"
    printf '\n   %s%s%s\n\n' "$bold" "$link" "$off"
    plain "It serves until: build/coffer --state quickstart-data/state stop"
}

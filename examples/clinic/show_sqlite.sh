# SPDX-License-Identifier: Apache-2.0
# The show on SQLite: what show.sh asks of an engine.

prefix='' file=''

db_check() {
    if [ -z "$url" ]; then
        file=$data/clinic.db # goes with the folder
    else
        file=${url#sqlite:}
        [[ $file = /* ]] || file=$called_from/$file
    fi
    url=sqlite:$file
    shown_url=${file#"$root/"}
}
db_clear() { :; } # the clinic replaces its own file, and refuses any other

db_size() { stat -c %s "$file"; }
db_written() { echo 0; }
db_plain() { sqlite3 -separator ', ' "$file" 'SELECT name, ssn, born FROM patients WHERE id=3'; }
db_cells() {
    sqlite3 "$file" "SELECT (SELECT sum(coalesce(length(ssn),0)+coalesce(length(born),0)+coalesce(length(email),0)
        +coalesce(length(notes),0)) FROM patients)+(SELECT coalesce(sum(length(value)),0) FROM labs)
        +(SELECT coalesce(sum(length(amount)),0) FROM invoices)"
}
db_inject() {
    note "SELECT id, ssn FROM patients WHERE id=3 OR 1=1 LIMIT 2"
    sqlite3 "$file" "SELECT id || ' | ' || substr(hex(ssn),1,56) || '…' FROM patients WHERE id=3 OR 1=1 LIMIT 2" |
        sed 's/^/   /'
}
db_backup() {
    sqlite3 "$file" "VACUUM INTO '$data/backup.db'"
    backup="backup.db ($(bytes "$(stat -c %s backup.db)"))"
}
db_restore() { fact "$(coffer_row sqlite:backup.db --escrow)"; }

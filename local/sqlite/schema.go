package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/reventless-go/reventless/driver"
)

// applicationID identifies Reventless files in SQLite's header ("Rvls").
const applicationID = 0x52766c73

// oldestVersion is the first schema version that can be read. Earlier ones were never
// released.
const oldestVersion = 3

// migrations lead from each schema version to the next; a file's version, its
// user_version, is the number of migrations applied to it. Migrations are only
// appended: a released one never changes.
var migrations = []string{"", "", `
-- Every table has a checksum of each entry in its last column, crc: see checksum.go.

-- counter: numbers up to value may have been used, as revisions and ids.
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL, crc INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('counter', 0, ` + strconv.FormatInt(metaSum("counter", 0), 10) + `);

-- Logical names, unique per kind.
CREATE TABLE names (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL,
	crc INTEGER NOT NULL, UNIQUE (kind, name)) STRICT;

-- pos orders the change feed: there is one writer, and commits are never deleted.
CREATE TABLE commits (
	pos INTEGER PRIMARY KEY,
	log INTEGER NOT NULL,
	stream TEXT NOT NULL,
	seq INTEGER NOT NULL,
	slot INTEGER NOT NULL,   -- hash of stream, selects the segment of a scan
	at INTEGER NOT NULL,     -- nanoseconds since 1970
	head TEXT NOT NULL,      -- JSON: types and sizes of the events; commands
	events TEXT NOT NULL,    -- data of the events, concatenated
	snapshot TEXT,           -- JSON: the snapshot without its state
	state TEXT,              -- state of the snapshot
	crc INTEGER NOT NULL     -- lower half of the commit, upper half of the snapshot
) STRICT;
CREATE UNIQUE INDEX commits_stream ON commits (log, stream, seq);
CREATE INDEX commits_log ON commits (log);
CREATE INDEX commits_snapshot ON commits (log, stream, seq) WHERE snapshot NOTNULL;

-- Checkpoints: the position up to which a consumer has settled a log's feed.
CREATE TABLE feeds (consumer INTEGER NOT NULL, log INTEGER NOT NULL, pos INTEGER NOT NULL,
	crc INTEGER NOT NULL, PRIMARY KEY (consumer, log)) STRICT, WITHOUT ROWID;

-- Queued messages, ordered by id.
CREATE TABLE messages (queue INTEGER NOT NULL, id INTEGER NOT NULL, grp TEXT NOT NULL, head TEXT NOT NULL, data TEXT,
	crc INTEGER NOT NULL, PRIMARY KEY (queue, id)) STRICT, WITHOUT ROWID;
-- Commands accepted within the deduplication window, with their messages.
CREATE TABLE sent (message INTEGER PRIMARY KEY, queue INTEGER NOT NULL, entity TEXT NOT NULL, command TEXT NOT NULL,
	at INTEGER NOT NULL, crc INTEGER NOT NULL, UNIQUE (queue, entity, command)) STRICT;
CREATE TABLE subscriptions (log INTEGER NOT NULL, consumer TEXT NOT NULL, queue INTEGER NOT NULL,
	crc INTEGER NOT NULL, PRIMARY KEY (log, consumer)) STRICT, WITHOUT ROWID;

-- Watermarks of consumers.
CREATE TABLE watermarks (consumer INTEGER NOT NULL, log INTEGER NOT NULL, stream TEXT NOT NULL, seq INTEGER NOT NULL,
	blocked INTEGER NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (consumer, log, stream)) STRICT, WITHOUT ROWID;

-- Read models, their rows and the index entries of the rows.
CREATE TABLE tables (id INTEGER PRIMARY KEY, spec TEXT NOT NULL, crc INTEGER NOT NULL) STRICT;
CREATE TABLE records (tbl INTEGER PRIMARY KEY, record TEXT NOT NULL, crc INTEGER NOT NULL) STRICT; -- what fills the rows, JSON
CREATE TABLE rows (n INTEGER PRIMARY KEY, tbl INTEGER NOT NULL, id TEXT NOT NULL, sub TEXT NOT NULL,
	rev INTEGER NOT NULL, expires INTEGER NOT NULL, data TEXT NOT NULL,
	purge INTEGER NOT NULL,  -- when an expired row is removed; 0 never
	crc INTEGER NOT NULL, UNIQUE (tbl, id, sub)) STRICT;
CREATE INDEX rows_purge ON rows (tbl, purge) WHERE purge > 0;
CREATE TABLE entries (idx INTEGER NOT NULL, key ANY NOT NULL, sort ANY NOT NULL, id TEXT NOT NULL, sub TEXT NOT NULL,
	n INTEGER NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (idx, key, sort, id, sub)) STRICT, WITHOUT ROWID;

CREATE TABLE counters (counter INTEGER NOT NULL, id TEXT NOT NULL, count INTEGER NOT NULL, target INTEGER NOT NULL,
	finished INTEGER NOT NULL, reached INTEGER NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (counter, id)) STRICT, WITHOUT ROWID;
CREATE TABLE refs (n INTEGER PRIMARY KEY, counter INTEGER NOT NULL, id TEXT NOT NULL, target INTEGER NOT NULL,
	ref TEXT NOT NULL, at INTEGER NOT NULL, crc INTEGER NOT NULL, UNIQUE (counter, id, target, ref)) STRICT;
CREATE INDEX refs_at ON refs (at);

-- due is in microseconds since 1970; deleted is 1 for a schedule that was deleted
-- while its firing was leased.
CREATE TABLE schedules (name TEXT PRIMARY KEY, gen INTEGER NOT NULL, expression TEXT NOT NULL, zone TEXT NOT NULL,
	payload TEXT, due INTEGER NOT NULL, deleted INTEGER NOT NULL, crc INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX schedules_due ON schedules (due, name);

-- Objects as last reported.
CREATE TABLE objects (bucket INTEGER NOT NULL, key TEXT NOT NULL, size INTEGER NOT NULL, modified INTEGER NOT NULL,
	crc INTEGER NOT NULL, PRIMARY KEY (bucket, key)) STRICT, WITHOUT ROWID;

CREATE TABLE dead_letters (id TEXT PRIMARY KEY, component TEXT NOT NULL, kind TEXT NOT NULL, log TEXT NOT NULL,
	stream TEXT NOT NULL, seq INTEGER NOT NULL, body BLOB, reason TEXT NOT NULL, attempts INTEGER NOT NULL,
	at TEXT NOT NULL, crc INTEGER NOT NULL) STRICT;
CREATE INDEX dead_letters_component ON dead_letters (component, id);

CREATE TABLE outcomes (command TEXT NOT NULL, target TEXT NOT NULL, kind TEXT NOT NULL, entity TEXT NOT NULL,
	seq INTEGER NOT NULL, events INTEGER NOT NULL, code TEXT NOT NULL, message TEXT NOT NULL, detail TEXT, user TEXT NOT NULL,
	fingerprint INTEGER NOT NULL, resend INTEGER NOT NULL, expires INTEGER NOT NULL, crc INTEGER NOT NULL,
	PRIMARY KEY (command, target)) STRICT;
CREATE INDEX outcomes_expires ON outcomes (expires);

-- Progress of the check of the whole file, JSON.
CREATE TABLE verification (id INTEGER PRIMARY KEY, state TEXT NOT NULL, crc INTEGER NOT NULL) STRICT;
`}

// create creates an empty database at path. It writes the file under another name
// and renames it, so that path never holds an incomplete database. An empty file at
// path is replaced, and its mode kept.
func create(path string) (err error) {
	temp := path + ".new"
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if err := os.Remove(temp + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	// SQLite would create the file readable by everyone. It gives the write-ahead log and
	// its index the mode of the database.
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	if info, e := os.Stat(path); e == nil {
		err = f.Chmod(info.Mode().Perm())
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	c, err := connect(fileURI(temp, "mode=rw"), "journal_mode=WAL", "synchronous=FULL", fmt.Sprintf("application_id=%d", applicationID))
	if err == nil {
		if err = migrate(c, migrations); err == nil {
			// Closing the last connection would write the log back, too, but without an
			// error when that fails.
			_, err = c.integer("PRAGMA wal_checkpoint(TRUNCATE)")
		}
		err = errors.Join(err, c.close())
	}
	if err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncFiles makes durable what an earlier process has written, and that there is a
// write-ahead log. The earlier process may have been killed between a commit and its sync;
// SQLite then recovers the commit, and a command in it that is sent again is acknowledged
// without a further write. SQLite syncs the directory at the first commit, but ignores an
// error.
func syncFiles(path string) error {
	if err := syncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("sync the directory: %w", err)
	}
	f, err := os.OpenFile(path+"-wal", os.O_RDWR, 0)
	if err == nil {
		err = errors.Join(f.Sync(), f.Close())
	}
	if err != nil {
		return fmt.Errorf("sync the write-ahead log: %w", err)
	}
	return nil
}

// migrate applies the missing migrations in one transaction.
func migrate(c *conn, steps []string) (err error) {
	version, err := c.integer("PRAGMA user_version")
	if err != nil {
		return err
	}
	if int(version) > len(steps) {
		return fmt.Errorf("%s: %w", unreadable(version, len(steps)), driver.ErrInvalid)
	}
	if int(version) == len(steps) {
		return nil
	}
	if err := c.script("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.script("ROLLBACK"))
		}
	}()
	for i := int(version); i < len(steps); i++ {
		if err := c.script(steps[i]); err != nil {
			return fmt.Errorf("migrate the schema from version %d to %d: %w", i, i+1, err)
		}
	}
	if err := c.script(fmt.Sprintf("PRAGMA user_version=%d", len(steps))); err != nil {
		return err
	}
	return c.script("COMMIT")
}

// unreadable says why a file with a schema version cannot be opened; empty if it can.
func unreadable(version int64, known int) string {
	switch {
	case int(version) > known:
		return fmt.Sprintf("its schema has version %d, this program knows versions up to %d", version, known)
	case version > 0 && version < oldestVersion:
		return fmt.Sprintf("its schema has version %d of an earlier, unreleased build, this program reads versions from %d on", version, oldestVersion)
	}
	return ""
}

package sqlite

import (
	"context"
	sqldriver "database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// VerifyOptions are the settings of [Provider.Verify]; every zero field is its default.
type VerifyOptions struct {
	// BytesPerSecond bounds how much is read; 0 is no bound.
	BytesPerSecond int
	// Progress is called after each page of a table.
	Progress func(Verification)
	// Wait waits for a time and returns early with an error when ctx ends; nil waits
	// by a timer.
	Wait func(ctx context.Context, d time.Duration) error
}

// Verification is the progress or the result of a check of the whole file.
type Verification struct {
	// Began and Ended are the times of the check; Ended is zero until it is done.
	Began time.Time `json:"began"`
	Ended time.Time `json:"ended,omitzero"`
	// Entries and Bytes are what was checked, and Damaged how many entries are damaged.
	Entries int64 `json:"entries"`
	Bytes   int64 `json:"bytes"`
	Damaged int64 `json:"damaged"`
	// Table is the table that is being checked.
	Table string `json:"table,omitempty"`
	// After is the key of the last checked entry of that table.
	After []string `json:"after,omitempty"`
}

const (
	// verifyPage bounds the entries of a page. A page is one read transaction: a long
	// one would keep SQLite from writing the log back.
	verifyPage = 256
	// verifySaved is how much is checked between two writes of the progress.
	verifySaved = 64 << 20
	// verifyEntry is what an entry costs in addition to its texts, in bytes.
	verifyEntry = 64
)

// Verify checks every entry of every table against its checksum, and every commit and row
// against the index that finds it and, for commits, against the commit before it. It
// passes damage to the listeners of NotifyDamage and goes on. It reads by the provider's
// own connections, beside other calls, and never holds a read transaction for longer than
// a page.
//
// A check that ended early, also by the end of the process, is continued by the next
// one, at most 64 MiB before the place where it ended. The error says why it ended early; damage is not an error.
func (p *Provider) Verify(ctx context.Context, opts *VerifyOptions) (Verification, error) {
	var o VerifyOptions
	if opts != nil {
		o = *opts
	}
	if o.Wait == nil {
		o.Wait = pauseFor
	}
	v, err := p.Verification(ctx)
	if err == nil {
		if v.Began.IsZero() || !v.Ended.IsZero() {
			v = Verification{Began: p.now().UTC()}
		}
		err = p.verify(ctx, &v, o)
	}
	if err != nil {
		return v, fmt.Errorf("sqlite: verify %s: %w", p.path, err)
	}
	return v, nil
}

// Verification returns the progress of the last check of the whole file, up to 64 MiB
// behind; it is zero if there was none.
func (p *Provider) Verification(ctx context.Context) (v Verification, err error) {
	err = p.call(ctx, func() error {
		return p.read(ctx, func(c *conn) error {
			_, err := c.first("SELECT state, crc FROM verification WHERE id = 1", nil, func(row []sqldriver.Value) error {
				if verificationSum(1, text(row[0])) != number(row[1]) || json.Unmarshal([]byte(text(row[0])), &v) != nil {
					v = Verification{} // it begins again
				}
				return nil
			})
			return err
		})
	})
	return v, err
}

func (p *Provider) saveVerification(ctx context.Context, v Verification) error {
	state, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return p.call(ctx, func() error {
		return p.write(ctx, func(t *tx) error {
			_, _, err := t.exec("INSERT OR REPLACE INTO verification (id, state, crc) VALUES (1, ?, ?)", string(state), verificationSum(1, string(state)))
			return err
		})
	})
}

func (p *Provider) verify(ctx context.Context, v *Verification, o VerifyOptions) error {
	at := 0
	for i, t := range verified {
		if t.name == v.Table {
			at = i
		}
	}
	saved := v.Bytes
	for ; at < len(verified); at++ {
		t := verified[at]
		if v.Table != t.name {
			v.Table, v.After = t.name, nil
		}
		for {
			began := p.now()
			before := v.Bytes
			more, err := p.verifyPage(ctx, t, v)
			if err != nil {
				return err
			}
			if o.Progress != nil {
				o.Progress(*v)
			}
			if v.Bytes-saved >= verifySaved {
				if err := p.saveVerification(ctx, *v); err != nil {
					return err
				}
				saved = v.Bytes
			}
			if o.BytesPerSecond > 0 {
				due := time.Duration(float64(v.Bytes-before) / float64(o.BytesPerSecond) * float64(time.Second))
				if rest := due - p.now().Sub(began); rest > 0 {
					if err := o.Wait(ctx, min(rest, due)); err != nil {
						return errors.Join(err, p.saveVerification(context.WithoutCancel(ctx), *v))
					}
				}
			}
			if !more {
				break
			}
		}
	}
	v.Table, v.After, v.Ended = "", nil, p.now().UTC()
	return p.saveVerification(ctx, *v)
}

func pauseFor(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// verifyPage checks the entries after v.After. more is false at the end of the table. A
// table whose pages SQLite cannot read is left there.
func (p *Provider) verifyPage(ctx context.Context, t verifiedTable, v *Verification) (more bool, err error) {
	var problems []error
	entries, bytes, after := int64(0), int64(0), v.After
	err = p.call(ctx, func() error {
		return p.read(ctx, func(c *conn) (err error) { //nolint:contextcheck // a connection has no context
			if err := c.control("BEGIN"); err != nil { // entries and what refers to them are of one time
				return err
			}
			defer func() { err = errors.Join(err, c.control("ROLLBACK")) }()
			var page [][]sqldriver.Value
			if err := c.query(t.statement(v.After), t.args(v.After), func(row []sqldriver.Value) error {
				page = append(page, append([]sqldriver.Value{}, row...))
				bytes += verifyEntry
				for _, column := range row {
					bytes += int64(len(text(column)) + len(blob(column)))
				}
				if bytes > pageBytes {
					return errStop
				}
				return nil
			}); err != nil {
				return err
			}
			for _, row := range page {
				entries++
				after = keyOfRow(row[:t.keys])
				if err := t.check(p, c, row); errors.Is(err, driver.ErrDamaged) {
					problems = append(problems, err)
				} else if err != nil {
					return err
				}
			}
			more = len(page) == verifyPage || bytes > pageBytes
			return nil
		})
	})
	if errors.Is(err, driver.ErrDamaged) {
		problems, more, err = append(problems, damage(t.name, "", strings.Join(after, " "), "the entries behind it cannot be read: %w", err)), false, nil
	}
	if err != nil {
		return false, err
	}
	v.After = after
	v.Entries += entries
	v.Bytes += bytes
	v.Damaged += int64(len(problems))
	for _, problem := range problems {
		p.found(problem)
	}
	return more, nil
}

// verifiedTable says how a table is checked.
type verifiedTable struct {
	name string
	// columns are read of each entry; the first keys of them are its key.
	columns string
	keys    int
	// check returns a [driver.ErrDamaged] if the entry is damaged.
	check func(p *Provider, c *conn, row []sqldriver.Value) error
}

// statement returns the statement of the page after a key.
func (t verifiedTable) statement(after []string) string {
	key := strings.Join(strings.SplitN(t.columns, ", ", t.keys+1)[:t.keys], ", ")
	where := ""
	if after != nil {
		where = " WHERE (" + key + ") > (?" + strings.Repeat(", ?", t.keys-1) + ")"
	}
	return "SELECT " + t.columns + " FROM " + t.name + where + " ORDER BY " + key + " LIMIT " + strconv.Itoa(verifyPage)
}

func (t verifiedTable) args(after []string) []any {
	args := make([]any, len(after))
	for i, s := range after {
		args[i] = keyValue(s)
	}
	return args
}

// keyOfRow returns the values of a key as texts, each after a letter for its type.
func keyOfRow(row []sqldriver.Value) []string {
	key := make([]string, len(row))
	for i, v := range row {
		switch v := v.(type) {
		case int64:
			key[i] = "i" + strconv.FormatInt(v, 10)
		case float64:
			key[i] = "f" + strconv.FormatFloat(v, 'g', -1, 64)
		default:
			key[i] = "t" + text(v)
		}
	}
	return key
}

// keyValue is the reverse of keyOfRow for one value.
func keyValue(s string) any {
	if len(s) == 0 {
		return ""
	}
	switch s[0] {
	case 'i':
		n, _ := strconv.ParseInt(s[1:], 10, 64)
		return n
	case 'f':
		n, _ := strconv.ParseFloat(s[1:], 64)
		return n
	}
	return s[1:]
}

// sumOf returns a check that compares the last column with a checksum.
func sumOf(table string, name func(p *Provider, row []sqldriver.Value) (name, key string), sum func(row []sqldriver.Value) int64) func(*Provider, *conn, []sqldriver.Value) error {
	return func(p *Provider, _ *conn, row []sqldriver.Value) error {
		if sum(row) == number(row[len(row)-1]) {
			return nil
		}
		owner, key := name(p, row)
		return damage(table, owner, key, "%w", errChecksum)
	}
}

// place returns the place of an entry: the name whose number is in one column, and the key
// in another one.
func place(name, key int) func(p *Provider, row []sqldriver.Value) (string, string) {
	return func(p *Provider, row []sqldriver.Value) (owner, id string) {
		if name >= 0 {
			owner = p.names.of(number(row[name]))
		}
		if n, ok := row[key].(int64); ok {
			return owner, strconv.FormatInt(n, 10)
		}
		return owner, text(row[key])
	}
}

type values = []sqldriver.Value

// verified are all tables, the log of commits first.
var verified = []verifiedTable{
	{"meta", "key, value, crc", 1, sumOf("meta", place(-1, 0), func(r values) int64 { return metaSum(text(r[0]), number(r[1])) })},
	{"names", "id, kind, name, crc", 1, sumOf("names", place(-1, 2), func(r values) int64 { return nameSum(number(r[0]), text(r[1]), text(r[2])) })},
	{"commits", "pos, " + commitColumns, 1, verifyCommit},
	{"feeds", "consumer, log, pos, crc", 2, sumOf("feeds", place(1, 0), func(r values) int64 { return feedSum(number(r[0]), number(r[1]), number(r[2])) })},
	{"messages", "queue, id, grp, head, data, crc", 2, sumOf("messages", place(0, 2), func(r values) int64 {
		return messageSum(number(r[0]), number(r[1]), text(r[2]), text(r[3]), r[4])
	})},
	{"sent", "message, queue, entity, command, at, crc", 1, sumOf("sent", place(1, 3), func(r values) int64 {
		return sentSum(number(r[0]), number(r[1]), text(r[2]), text(r[3]), number(r[4]))
	})},
	{"subscriptions", "log, consumer, queue, crc", 2, sumOf("subscriptions", place(0, 1), func(r values) int64 {
		return subscriptionSum(number(r[0]), text(r[1]), number(r[2]))
	})},
	{"watermarks", "consumer, log, stream, seq, blocked, crc", 3, sumOf("watermarks", place(0, 2), func(r values) int64 {
		return flagged(watermarkSum(number(r[0]), number(r[1]), text(r[2]), number(r[3])), number(r[4]))
	})},
	{"tables", "id, spec, crc", 1, sumOf("tables", place(0, 0), func(r values) int64 { return tableSum(number(r[0]), text(r[1])) })},
	{"records", "tbl, record, crc", 1, sumOf("records", place(0, 0), func(r values) int64 { return recordSum(number(r[0]), text(r[1])) })},
	{"rows", "n, tbl, id, sub, rev, expires, data, purge, crc", 1, verifyRow},
	{"entries", "idx, key, sort, id, sub, n, crc", 5, verifyEntryOf},
	{"counters", "counter, id, count, target, finished, reached, crc", 2, sumOf("counters", place(0, 1), func(r values) int64 {
		return counterSum(number(r[0]), text(r[1]), number(r[2]), number(r[3]), number(r[4]), number(r[5]))
	})},
	{"refs", "n, counter, id, target, ref, at, crc", 1, sumOf("refs", place(1, 2), func(r values) int64 {
		return referenceSum(number(r[1]), text(r[2]), number(r[3]), text(r[4]), number(r[5]))
	})},
	{"schedules", scheduleColumns, 1, func(_ *Provider, _ *conn, r values) error { return checkSchedule(r) }},
	{"objects", "bucket, key, size, modified, crc", 2, sumOf("objects", place(0, 1), func(r values) int64 {
		return objectSum(number(r[0]), text(r[1]), number(r[2]), number(r[3]))
	})},
	{"dead_letters", "rowid, " + deadLetterColumns, 1, sumOf("dead_letters", place(-1, 1), func(r values) int64 { return letterSum(letterOf(r[1:]), text(r[10])) })},
	{"outcomes", "rowid, " + outcomeColumns, 1, sumOf("outcomes", place(-1, 1), func(r values) int64 {
		return outcomeSum(outcomeOf(r[1:]), r[8], number(r[11]))
	})},
	{"verification", "id, state, crc", 1, sumOf("verification", place(-1, 0), func(r values) int64 { return verificationSum(number(r[0]), text(r[1])) })},
}

// verifyCommit checks a commit, that its index finds it, and that the commit before it
// exists.
func verifyCommit(p *Provider, c *conn, row values) error {
	r := commitRecord(row[1:])
	log := p.names.of(r.log)
	commit, err := r.decode(log)
	if err == nil {
		err = commit.SnapshotErr
	}
	if err != nil {
		return err
	}
	const statement = "SELECT pos FROM commits WHERE log = ? AND stream = ? AND seq = ?"
	pos, err := c.integer(statement, r.log, r.Stream, int64(r.SequenceNr))
	if err != nil {
		return err
	}
	if pos != number(row[0]) {
		return damagedCommit("commits", log, r.Stream, r.SequenceNr, errors.New("the index does not find it"))
	}
	if r.SequenceNr == 1 {
		return nil
	}
	if pos, err = c.integer(statement, r.log, r.Stream, int64(r.SequenceNr)-1); err == nil && pos == 0 {
		err = damagedCommit("commits", log, r.Stream, r.SequenceNr-1, errors.New("the commit is missing"))
	}
	return err
}

// verifyRow checks a row, and that its index finds it.
func verifyRow(p *Provider, c *conn, r values) error {
	name, key := p.names.of(number(r[1])), driver.Key{ID: text(r[2]), Sub: text(r[3])}.String()
	if rowSum(number(r[1]), text(r[2]), text(r[3]), number(r[4]), number(r[5]), text(r[6]), number(r[7])) != number(r[8]) {
		return damage("rows", name, key, "%w", errChecksum)
	}
	n, err := c.integer("SELECT n FROM rows WHERE tbl = ? AND id = ? AND sub = ?", number(r[1]), text(r[2]), text(r[3]))
	if err == nil && n != number(r[0]) {
		err = damage("rows", name, key, "the index does not find it")
	}
	return err
}

// verifyEntryOf checks an index entry, and that its row exists.
func verifyEntryOf(p *Provider, c *conn, r values) error {
	key := driver.Key{ID: text(r[3]), Sub: text(r[4])}
	if entrySum(number(r[0]), r[1], r[2], key.ID, key.Sub, number(r[5])) != number(r[6]) {
		return damage("entries", "", key.String(), "%w", errChecksum)
	}
	var of driver.Key
	table := int64(0)
	if _, err := c.first("SELECT tbl, id, sub FROM rows WHERE n = ?", []any{number(r[5])}, func(row []sqldriver.Value) error {
		table, of = number(row[0]), driver.Key{ID: text(row[1]), Sub: text(row[2])}
		return nil
	}); err != nil {
		return err
	}
	if of != key {
		return damage("entries", p.names.of(table), key.String(), "its row is missing")
	}
	return nil
}

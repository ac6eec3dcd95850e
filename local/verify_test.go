package local

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reventless-go/reventless/local/sqlite"
)

// spoil changes a row of a closed database behind its back.
func spoil(t *testing.T, path, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	result, err := db.ExecContext(t.Context(), statement)
	if err == nil {
		var n int64
		if n, err = result.RowsAffected(); err == nil && n != 1 {
			err = fmt.Errorf("%d rows changed", n)
		}
	}
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestVerifyPrintsDamageAndFails(t *testing.T) {
	t.Parallel()
	b := newNotebook(t)
	for _, id := range []string{"1", "2", "3"} {
		b.run("", "send", "--command-id", id, "Book", "Note", "Write", "n", `{"text":"t`+id+`"}`)
	}
	if out := b.run("", "verify"); !strings.HasSuffix(out, " entries checked, 0 damaged\n") {
		t.Fatalf("verify prints %q", out)
	}
	spoil(t, b.path, `UPDATE commits SET events = replace(events, 't2', 't9') WHERE seq = 2`)
	out := b.run("", "verify")
	for _, want := range []string{`stored data is damaged: commits of Book.Note, "n", sequence number 2: wrong checksum`, ", 1 damaged\n", "error: the database is damaged: 1 entries"} {
		if !strings.Contains(out, want) {
			t.Errorf("verify prints %q, want %q in it", out, want)
		}
	}
}

// A damaged commit is neither the caller's fault nor described to the caller. The log has
// one line about it.
func TestDamagedCommitIsAnInternalErrorForCallers(t *testing.T) {
	t.Parallel()
	b := newNotebook(t)
	for _, id := range []string{"1", "2", "3"} {
		b.run("", "send", "--command-id", id, "Book", "Note", "Write", "n", `{"text":"t`+id+`"}`)
	}
	spoil(t, b.path, `UPDATE commits SET head = '{"v":1,"e":[' WHERE seq = 2`)
	opts := b.options()
	var lines bytes.Buffer
	opts.Logger = slog.New(slog.NewTextHandler(&lines, nil))
	h, err := Open(t.Context(), b.app, b.path, opts)
	if err != nil {
		t.Fatal(err)
	}
	api, err := h.API(t.Context(), &APIOptions{DevUsers: true})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		r := httptest.NewRequest(http.MethodPost, "http://localhost/graphql", strings.NewReader(`{"query":"mutation{bookNoteWrite(id:\"n\",text:\"x\"){__typename}}"}`))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-User", "user")
		w := httptest.NewRecorder()
		api.ServeHTTP(w, r)
		if body := w.Body.String(); !strings.Contains(body, `"code":"INTERNAL"`) || strings.Contains(body, "commit") || strings.Contains(body, "damage") || strings.Contains(body, "head") {
			t.Errorf("the caller receives %s", body)
		}
	}
	if h.Damaged() != 1 {
		t.Errorf("%d damaged places are counted, want 1", h.Damaged())
	}
	if err := errors.Join(api.Close(t.Context()), h.Close()); err != nil {
		t.Error(err)
	}
	if n := strings.Count(lines.String(), `level=ERROR msg="stored data is damaged" table=commits name=Book.Note key=n sequenceNr=2`); n != 1 {
		t.Errorf("%d lines name the damage, want 1:\n%s", n, lines.String())
	}
}

// The database is checked once a day, also if the host is restarted meanwhile or the
// clock is set back. A check that fails is continued after a while.
func TestDatabaseIsCheckedOnceADay(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, time.March, 2, 10, 0, 0, 0, time.UTC)
	now := start
	var checks []string
	var last sqlite.Verification
	var lines bytes.Buffer
	waits := 0
	c := &checker{
		now: func() time.Time { return now }, rate: 7, log: slog.New(slog.NewTextHandler(&lines, nil)),
		last: func(context.Context) (sqlite.Verification, error) { return last, nil },
		verify: func(_ context.Context, o *sqlite.VerifyOptions) (sqlite.Verification, error) {
			checks = append(checks, now.Sub(start).String())
			if o.BytesPerSecond != 7 || o.Wait == nil {
				t.Errorf("the options are %+v", o)
			}
			if len(checks) == 1 {
				return sqlite.Verification{}, errors.New("busy")
			}
			now = now.Add(time.Hour) // the check takes a while
			o.Progress(sqlite.Verification{Entries: 5})
			last = sqlite.Verification{Entries: 9, Ended: now}
			if len(checks) == 3 {
				last.Damaged = 2
			}
			return last, nil
		},
		wait: func(_ context.Context, d time.Duration) error {
			if waits++; waits == 100 {
				return context.Canceled
			}
			if now = now.Add(d); len(checks) == 3 && now.After(start.Add(30*time.Hour)) {
				now = start // the clock is set back
			}
			return nil
		},
	}
	c.run(t.Context())
	if want := []string{"1m0s", "11m0s", "25h11m0s", "0s", "25h0m0s", "50h0m0s"}; len(checks) < 6 || !slices.Equal(checks[:6], want) {
		t.Errorf("checks began at %v, want %v", checks, want)
	}
	for _, want := range []string{
		`level=WARN msg="the check of the database is continued later" error=busy`, "level=INFO", "entries=5",
		`level=ERROR msg="the check of the database has found damage" entries=9 bytes=0 damaged=2 seconds=3600`,
	} {
		if !strings.Contains(lines.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, lines.String())
		}
	}
}

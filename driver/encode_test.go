package driver_test

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
)

var update = flag.Bool("update", false, "write the golden files")

func example() driver.Commit {
	at := time.Date(2026, 12, 1, 10, 30, 0, 123456789, time.UTC)
	return driver.Commit{
		Stream: "order-1", SequenceNr: 101, RecordedAt: at, LastSnapshot: 57,
		Events: []driver.Event{
			{Type: "Placed", Version: 1, Data: json.RawMessage(`{"lines": 2}`)},
			{Type: "Paid", Version: 3, Data: json.RawMessage(`{"by":"card"}`)},
			{Type: "Paid", Version: 0, Data: json.RawMessage(`{}`)},
		},
		Commands: []driver.AnsweredCommand{
			{EventCount: 2, Fingerprint: 4000000000, Meta: driver.Meta{
				ID: "019ad9e2-7b1c-7d2e-8f3a-000000000001", CorrelationID: "019ad9e2-7b1c-7d2e-8f3a-000000000001", Time: at, User: "ada", IP: "2001:db8::1",
			}},
			{EventCount: 0, Meta: driver.Meta{ID: "none", CorrelationID: "none"}},
			{EventCount: 1, Meta: driver.Meta{
				ID: "019ad9e2-7b1c-8d2e-8f3a-000000000002", CorrelationID: "root", CausationID: "Shop.Cart/c/7.0", Depth: 2,
				TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Headers: map[string]string{"tenant": "x"},
			}},
		},
		Snapshot: &driver.Snapshot{
			SnapshotHead: driver.SnapshotHead{Shape: "q83vASNFZ4mr", StateVersion: 4, Folded: []string{"Paid/0", "Paid/3", "Placed/1"}},
			State:        json.RawMessage(`{"total": 3.10}`), From: 12, Since: at.Add(-time.Hour),
			Remembered: []driver.RememberedCommand{
				{Hash: driver.HashID("a"), SequenceNr: 12, EventCount: 1},
				{Hash: driver.HashID("b"), Fingerprint: 7, SequenceNr: 12},
				{Hash: 1, Fingerprint: 1, SequenceNr: 101, EventCount: 300},
			},
		},
	}
}

// The stored form does not change: files and tables hold it.
func TestStoredFormIsStable(t *testing.T) {
	t.Parallel()
	const golden = "testdata/commit-1.json"
	stored, err := driver.StoreCommit(example())
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.MarshalIndent(stored, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(golden, append(text, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if string(text)+"\n" != string(want) {
		t.Errorf("the stored form is\n%s\nwant\n%s", text, want)
	}
	var earlier driver.StoredCommit
	if err := json.Unmarshal(want, &earlier); err != nil {
		t.Fatal(err)
	}
	got, err := earlier.Commit()
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, example()) { //nolint:govet // its errors are nil
		t.Errorf("read back:\n%+v\nwant\n%+v", got, example())
	}
}

func TestStoredFormOfASmallCommitIsSmall(t *testing.T) {
	t.Parallel()
	c := example()
	c.Snapshot, c.LastSnapshot, c.Events, c.Commands = nil, 0, c.Events[:1], c.Commands[:1]
	c.Commands[0].EventCount, c.Commands[0].Meta.IP = 1, ""
	stored, err := driver.StoreCommit(c)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(stored.Head); n > 130 {
		t.Errorf("the head has %d bytes, want at most 130: %s", n, stored.Head)
	}
	c.Snapshot = &driver.Snapshot{State: json.RawMessage(`{}`)}
	for i := range uint64(256) {
		c.Snapshot.Remembered = append(c.Snapshot.Remembered, driver.RememberedCommand{Hash: 1<<64 - 1 - i, Fingerprint: 1<<32 - 1, SequenceNr: 1_000_000 + 50*i, EventCount: 5})
	}
	if stored, err = driver.StoreCommit(c); err != nil {
		t.Fatal(err)
	}
	if n := len(stored.Snapshot); n > 24*256 {
		t.Errorf("256 remembered commands take %d bytes, want at most 24 for each", n)
	}
}

func TestDamagedStoredFormIsAnErrorThatNamesTheCommit(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		spoil func(*driver.StoredCommit)
		class error
		table string
	}{
		"no head":          {func(s *driver.StoredCommit) { s.Head = "" }, driver.ErrDamaged, "commits"},
		"a later version":  {func(s *driver.StoredCommit) { s.Head = strings.Replace(s.Head, `"v":1`, `"v":2`, 1) }, driver.ErrUnsupported, "commits"},
		"no events":        {func(s *driver.StoredCommit) { s.Head = `{"v":1,"e":[],"c":[{"i":"x"}]}` }, driver.ErrDamaged, "commits"},
		"no commands":      {func(s *driver.StoredCommit) { s.Head = `{"v":1,"e":[{"t":"A"}],"c":[]}` }, driver.ErrDamaged, "commits"},
		"truncated events": {func(s *driver.StoredCommit) { s.Events = s.Events[:4] }, driver.ErrDamaged, "commits"},
		"a negative size":  {func(s *driver.StoredCommit) { s.Head = `{"v":1,"e":[{"t":"A","n":-1},{"t":"A"}],"c":[{"i":"x"}]}` }, driver.ErrDamaged, "commits"},
		"too many events of a command": {func(s *driver.StoredCommit) {
			s.Head = `{"v":1,"e":[{"t":"A"}],"c":[{"i":"x","n":2},{"i":"y"}]}`
		}, driver.ErrDamaged, "commits"},
		"a head of other types": {func(s *driver.StoredCommit) { s.Head = `{"v":1,"e":{},"c":[]}` }, driver.ErrDamaged, "commits"},
		"a later snapshot":      {func(s *driver.StoredCommit) { s.Snapshot = `{"v":9}` }, driver.ErrUnsupported, "snapshots"},
		"truncated commands":    {func(s *driver.StoredCommit) { s.Snapshot = `{"v":1,"r":"AAAA"}` }, driver.ErrDamaged, "snapshots"},
		"commands not base64":   {func(s *driver.StoredCommit) { s.Snapshot = `{"v":1,"r":"?"}` }, driver.ErrDamaged, "snapshots"},
		"an unfinished varint":  {func(s *driver.StoredCommit) { s.Snapshot = `{"v":1,"r":"AAAAAAAAAAAAAAAA//8"}` }, driver.ErrDamaged, "snapshots"},
		"a snapshot not JSON":   {func(s *driver.StoredCommit) { s.Snapshot = `{` }, driver.ErrDamaged, "snapshots"},
	} {
		stored, err := driver.StoreCommit(example())
		if err != nil {
			t.Fatal(err)
		}
		test.spoil(&stored)
		c, err := stored.Commit()
		if test.table == "snapshots" { // the commit itself is whole
			if err != nil || c.Snapshot != nil || len(c.Events) != 3 {
				t.Errorf("%s: got %+v, %v, want the commit without its snapshot", name, c, err)
			}
			err = c.SnapshotErr
		}
		var damage *driver.DamageError
		if !errors.Is(err, test.class) || errors.Is(err, driver.ErrInvalid) || !strings.Contains(err.Error(), "order-1") || !strings.Contains(err.Error(), "101") {
			t.Errorf("%s: got %v, want %v with the place", name, err, test.class)
		} else if errors.As(err, &damage) && (damage.Table != test.table || damage.Key != "order-1" || damage.SequenceNr != 101) {
			t.Errorf("%s: the place is %+v", name, damage)
		}
	}
}

//go:build linux

package powerloss

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/reventless-go/reventless/internal/testenv"
)

// faults are the system calls that fail, with the errors that a disk has for them.
// The first to the last call, of each thread, can fail; most threads make some calls of a
// kind.
var faults = []struct {
	calls  string
	most   int
	errors []string
}{
	{"fsync,fdatasync", 40, []string{"EIO", "ENOSPC"}},
	{"pwrite64", 200, []string{"EIO", "ENOSPC"}},
	{"pread64", 60, []string{"EIO"}},
	{"ftruncate", 4, []string{"EIO"}},
	{"openat,open", 40, []string{"EIO", "EMFILE"}},
	{"fstat,newfstatat", 60, []string{"EIO"}},
	{"write", 40, []string{"ENOSPC"}},
	{"renameat,unlink,unlinkat,mkdirat", 6, []string{"EIO"}},
}

// failing records a life in which system calls fail, and checks what a restart and what a
// power failure find. It returns the number of calls that failed by f.
func failing(t *testing.T, all checkers, random *rand.Rand, r *recording, l life, f *fault) (failed int) {
	t.Helper()
	before := len(r.events)
	failed, ended := r.record(t, l, f)
	if err := r.same(); err != nil {
		t.Errorf("%v: the recording is not what happened: %v", f, err)
		return failed
	}
	lost := false // a sync of the write-ahead log failed
	for _, e := range r.events[before:] {
		lost = lost || e.kind == "failed" && strings.HasSuffix(e.path, "-wal") && strings.HasPrefix(e.path, l.Path+"-")
	}
	if lost && ended == nil {
		t.Errorf("%v: a sync of the write-ahead log failed, and the process did not", f)
	}
	last := len(r.events) - 1
	if last < before { // the process did not get far
		return failed
	}
	places := append(r.places(random, before, 1), place{last, "everything"}, place{last, "nothing"})
	for _, p := range r.images(t, all, random.Uint64(), places, 10) {
		t.Errorf("%v, %d acknowledged, ended with %.300v: %s", f, len(r.acks), ended, p)
	}
	return failed
}

func TestFailedCallsLoseNothingAcknowledged(t *testing.T) {
	testenv.Needs(t, "strace")
	rounds := 2
	switch {
	case testenv.Long():
		rounds = 50
	case raceEnabled:
		rounds = 1
	}
	seed, _ := testenv.Seed(t)
	all := newCheckers(t)
	random := rand.New(rand.NewPCG(seed, 0))
	base := newRecording(folder(t))
	l := life{Path: filepath.Join(base.root, databaseName), Name: "base", Senders: senders, Count: 4}
	base.run(t, l)
	l.Name = "fault"
	failed := map[string]int{}
	for _, f := range faults {
		// A call may not be made as often as chosen: then nothing fails.
		for round := 0; round < rounds || failed[f.calls] == 0 && round < 20; round++ {
			for _, e := range f.errors {
				// On an empty directory, after a crash, or after a Close; once, or from then on.
				from := []int{0, len(base.events) / 4 * (2 + random.IntN(2)), len(base.events)}[random.IntN(3)]
				r := base.kill(t, from)
				l.Again = r.unanswered()
				l.Again = l.Again[:min(3, len(l.Again))]
				when := fmt.Sprintf("%d%s", 1+random.IntN(f.most), []string{"", "+"}[random.IntN(2)])
				failed[f.calls] += failing(t, all, random, r, l, &fault{f.calls, e, when})
			}
		}
	}
	t.Logf("failed calls: %v", failed)
	for _, f := range faults {
		if failed[f.calls] == 0 {
			t.Errorf("no call of %s has failed", f.calls)
		}
	}
}

// Closing a new file writes its log back, and hides an error: the file was incomplete.
func TestFailedSyncsWhileAFileIsCreated(t *testing.T) {
	testenv.Needs(t, "strace")
	seed, _ := testenv.Seed(t)
	all := newCheckers(t)
	random := rand.New(rand.NewPCG(seed, 0))
	root := folder(t)
	l := life{Path: filepath.Join(root, databaseName), Name: "new", Senders: []string{"desk/a"}, Count: 1}
	for n := range 12 {
		failing(t, all, random, newRecording(root).kill(t, 0), l, &fault{"fsync,fdatasync", "EIO", fmt.Sprint(n + 1)})
	}
}

// SQLite writes the log back and removes it when an Open that failed closes its
// connection: then the next Open must not take the log for lost.
func TestFailedOpenIsFollowedByAnother(t *testing.T) {
	testenv.Needs(t, "strace")
	seed, _ := testenv.Seed(t)
	all := newCheckers(t)
	random := rand.New(rand.NewPCG(seed, 0))
	r := newRecording(folder(t))
	l := life{Path: filepath.Join(r.root, databaseName), Name: "killed", Senders: []string{"desk/a"}, Count: 3}
	r.run(t, l)
	last := 0
	for i, e := range r.events {
		if e.kind == "ack" {
			last = i
		}
	}
	l.Name, l.Count = "failed", 0
	for n := range 8 {
		failing(t, all, random, r.kill(t, last), l, &fault{"ftruncate", "EIO", fmt.Sprint(n + 1)})
	}
}

// A file that cannot grow further makes a write short, and the next one fail.
func TestShortWritesLoseNothingAcknowledged(t *testing.T) {
	testenv.Needs(t, "strace")
	rounds := 6
	if testenv.Long() {
		rounds = 300
	}
	seed, _ := testenv.Seed(t)
	all := newCheckers(t)
	random := rand.New(rand.NewPCG(seed, 0))
	root := folder(t)
	short := 0
	for range rounds {
		r := newRecording(root).kill(t, 0)
		l := life{Path: filepath.Join(r.root, databaseName), Name: "short", Senders: senders, Count: 8, MaxFile: uint64(random.IntN(1 << 20))}
		failing(t, all, random, r, l, nil)
		if slices.ContainsFunc(r.events, func(e event) bool {
			return e.kind == "write" && len(e.data) != 24 && len(e.data) < 4096 && strings.HasSuffix(e.path, "-wal")
		}) {
			short++
		}
	}
	t.Logf("%d of %d processes had a short write", short, rounds)
}
